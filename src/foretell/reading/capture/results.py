"""What a capture holds: masses, lift, activity and log-probabilities of the generated tokens, as arrays.

capture.mass            # (sample, layer, head, segment)
capture.keep([12, 40])  # only the first 12 and 40 generated tokens count
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.display import Displayed, Facts
from foretell.errors import InputError
from foretell.reading.capture.counted_rows import CountedRows
from foretell.reading.capture.row_store import Place, doubling_bins
from foretell.reading.signals.key_segments import N_SEGMENTS
from foretell.reading.signals.pooled_states import BinnedStates, binned
from foretell.schema.tables import POOLS

__all__ = ["Capture", "TokenResults"]


_AXES = {
    "mass, lift, contribution": "sample, layer, head, segment",
    "row_mass": "sample, layer, head, row, segment",
    "entropy, lookback": "sample, layer, head",
    "activity": "sample, layer, token, direction",
    "logprob, token_entropy, margin": "sample, token",
    "hidden(pool)": "sample, layer, width",
}


class TokenResults(CountedRows):
    """What was read of the generated tokens whatever the heads: activity, hidden states, and what logits say."""

    @cached_property
    def activity(self) -> Float[np.ndarray, "sample layer token direction"]:
        """(hidden . direction - mean) / standard deviation, after each block and for each generated token.

        Undefined:
            nan where no generated token counts, and in layers where the direction has no standard deviation.
        """
        recording, generated = self._recording, self.generated
        n_samples, n_tokens = generated.shape
        values = np.full((n_samples, recording.n_layers, n_tokens, recording.n_directions), np.nan, dtype=np.float32)
        self._to_tokens("activity", values)
        return values

    def hidden(self, pool: str, n_generated: int | None = None) -> Float[np.ndarray, "sample layer width"]:
        """Return hidden states of the layers that `listen` was asked for, in their order, pooled over tokens.

        Args:
            pool: "last prompt token", "mean over answer" or "last answer token".
            n_generated: generated tokens that count: the first 1, 2, 4, 8, ...; None: all.

        Undefined:
            nan for a sample with fewer generated tokens, or without a token before them.

        Raises:
            InputError: No hidden states were read, there is no such pool, or the number is none of these.
        """
        if not self._recording.hidden_layers or pool not in POOLS:
            what = f"there is no pool {pool!r}" if self._recording.hidden_layers else "no hidden states were read"
            raise InputError(f"hidden: {what}; listen with hidden=[...], and take one of {', '.join(POOLS)}")
        counts = self.n_generated
        if pool == POOLS[0]:
            known = [self._recording.prompt_states[layer] for layer in self._recording.hidden_layers]
            return np.stack([one.cpu().numpy() for one in known], axis=1)
        if n_generated is not None and (n_generated < 1 or n_generated & (n_generated - 1)):
            raise InputError(f"hidden: pooled after 1, 2, 4, 8, ... tokens, or after all, not after {n_generated}")
        n_tokens = torch.from_numpy(np.maximum(counts, 1) if n_generated is None else np.full_like(counts, n_generated))
        pooled = [one.mean(n_tokens) if pool == POOLS[1] else one.last(n_tokens) for one in self.answer_states]
        states = np.stack([one.numpy() for one in pooled], axis=1)
        states[counts < (n_generated or 1)] = np.nan
        return states

    @cached_property
    def answer_states(self) -> list[BinnedStates]:
        """Hidden states of the answers so far, by layer, of the tokens that count."""
        recording, counts = self._recording, self.n_generated
        if not recording.keeps_rows:
            known = [recording.answer_states[layer] for layer in recording.hidden_layers]
            return [BinnedStates(one.sums.cpu(), one.latest.cpu()) for one in known]
        bins = doubling_bins(Place(np.zeros_like(counts), counts), int(counts.max(initial=0)))
        rows = (self.rows_of("hidden", layer)[:, 0] for layer in recording.hidden_layers)
        return [binned(torch.from_numpy(one), bins) for one in rows]

    @cached_property
    def logprob(self) -> Float[np.ndarray, "sample token"]:
        """Log-probability (nats) of each generated token given all before it, before any sampling temperature.

        It is `logits.log_softmax(-1)` at the position before the token, at the token's id.

        Undefined:
            nan where no generated token counts, for the first token of a text, and where the pass made no
            logits for the position before it.
        """
        return self._token_numbers("logprob")

    @cached_property
    def token_entropy(self) -> Float[np.ndarray, "sample token"]:
        """Entropy (nats) of the distribution each generated token was drawn from, before any sampling temperature.

        Undefined:
            nan where the log-probability is, and where `listen` was not asked for it.
        """
        return self._token_numbers("token_entropy")

    @cached_property
    def margin(self) -> Float[np.ndarray, "sample token"]:
        """Probability of the likeliest token minus that of the second, of the distribution of `token_entropy`; 0 to 1.

        Undefined:
            nan where that entropy is.
        """
        return self._token_numbers("margin")


class Capture(Displayed, TokenResults):
    """What was read inside `foretell.listen`. Arrays are built when they are asked for.

    A *row* is a generated token as a query. The token axis has one place per token fed: those of `segments`, then
    those that `generate` added. After `generate` only the tokens of each sample's answer count, its end included.
    """

    def finish(self, token_ids: Int[Tensor, "sample token"], *, end_ids: Sequence[int] = ()) -> None:
        """Feed the last generated token once more, so that it has a row too, and find where each answer ends.

        `generate` does this by itself inside `listen`; a decoding loop of one's own calls it at its end.

        Args:
            token_ids: prompts and generated tokens, as `generate` returns them.
            end_ids: tokens that end a sequence; what follows the first one in a sample does not count.

        Raises:
            InputError: The block of `listen` has been left, or the model was given other tokens.
        """
        if self._block is None:
            if token_ids.shape[1] > self._recording.n_columns:
                raise InputError("finish: the block of listen has been left; finish inside it")
        else:
            self._block.finish(token_ids)
        width = self._recording.segments.shape[1]
        generated = token_ids[:, width:].detach().cpu().numpy()
        ended = np.isin(generated, list(end_ids))
        self.keep(np.where(ended.any(1), ended.argmax(1) + 1, generated.shape[1]) if generated.shape[1] else None)

    def keep(self, n_generated: Sequence[int] | Int[np.ndarray, " sample"] | None) -> None:
        """Let only the first generated tokens of each sample count.

        Args:
            n_generated: one count per sample, 0 or more; None lets every token count that was fed.

        Raises:
            InputError: There is not one count per sample.
        """
        counts = None if n_generated is None else np.asarray(n_generated, dtype=np.int64)
        n_samples = self._recording.n_samples
        if counts is not None and (counts.shape != (n_samples,) or (counts < 0).any()):
            raise InputError(f"keep: one count of 0 or more is needed for each of {n_samples} samples")
        if counts is not None and not self._recording.keeps_rows:
            raise InputError("keep: single rows were not kept; listen with rows=True")
        self._recording.kept = counts
        self.forget()

    def facts(self) -> Facts:
        """Return what was fed so far, and which arrays there are; nothing is computed."""
        n_samples, n_given = self._recording.segments.shape
        fed = f"{self._recording.n_columns} tokens of {n_samples} samples; segments were given for {n_given}"
        known = [("model", self._recording.model_name), ("fed", fed), ("block", ["open", "left"][self._block is None])]
        return Facts("Capture", "", known, ("array", "axes"), [*_AXES.items()])

    def forget(self) -> None:
        """Drop built arrays, because more was read."""
        for name in [name for name in vars(self) if not name.startswith("_")]:
            del vars(self)[name]

    def close(self) -> None:
        """Drop the reference to the model at the end of the block."""
        self._block = None

    @property
    def without_attention(self) -> dict[int, str]:
        """Blocks that are absent from the layer axis, each with the reason."""
        reason = (
            "it made no attention weights over tokens (a recurrent, convolutional or otherwise attention-free block)"
        )
        return dict.fromkeys(sorted(set(range(self._recording.n_layers)) - set(self.layers.tolist())), reason)

    @property
    def projected(self) -> Int[np.ndarray, " layer"]:
        """Blocks whose contribution was measured after the output projection."""
        _ = self.generated
        return np.array(sorted(self._recording.projected), dtype=np.int64)

    @cached_property
    def mass(self) -> Float[np.ndarray, "sample layer head segment"]:
        """Fraction of each head's attention that lands in each segment, averaged over the rows.

        Undefined:
            nan for a sample without generated tokens, and for heads that a layer does not have.
        """
        return self._mean("mass", N_SEGMENTS)

    @cached_property
    def row_mass(self) -> Float[np.ndarray, "sample layer head row segment"]:
        """The masses of every row, in the order the tokens were generated; nan beyond a sample's rows.

        Raises:
            InputError: Rows were not kept.
        """
        return self._every_row("mass", "row_mass", N_SEGMENTS)

    @cached_property
    def row_previous_token(self) -> Float[np.ndarray, "sample layer head row"]:
        """Weight of every row on the token right before its own, in the order the tokens were generated.

        Undefined:
            nan beyond a sample's rows, where `listen` was not asked for it, and where no weights are seen.
        """
        return self._every_row("previous_token", "row_previous_token", 1)[..., 0]

    def _every_row(self, quantity: str, name: str, width: int) -> Float[np.ndarray, "sample layer head row value"]:
        if not self._recording.keeps_rows:
            raise InputError(f"{name}: single rows were not kept; listen with rows=True")
        shape = (len(self.generated), len(self.layers), self.n_heads, int(self.n_generated.max(initial=0)), width)
        found = np.full(shape, np.nan, dtype=np.float32)
        for place, layer in enumerate(self.layers):
            rows = self.rows_of(quantity, int(layer))
            found[:, place, : rows.shape[1]] = rows
        return found

    def mass_after(self, n_tokens: int) -> Float[np.ndarray, "sample layer head segment"]:
        """Return the masses averaged over the first `n_tokens` rows only.

        Undefined:
            nan for a sample that has fewer generated tokens.

        Raises:
            InputError: `n_tokens` is below 1, or rows were not kept and it is not 1, 2, 4, 8, ...
        """
        if n_tokens < 1:
            raise InputError(f"mass_after: at least one token is needed, not {n_tokens}")
        return self._mean("mass", N_SEGMENTS, n_tokens)

    @cached_property
    def checkpoints(self) -> dict[int, Float[np.ndarray, "sample layer head segment"]]:
        """Masses after the first 1, 2, 4, 8, ... generated tokens, as far as the longest answer goes."""
        longest = int(self.n_generated.max(initial=0))
        return {1 << power: self.mass_after(1 << power) for power in range(longest.bit_length())}

    @cached_property
    def lift(self) -> Float[np.ndarray, "sample layer head segment"]:
        """Mass over the segment's share of the tokens that a row sees, averaged over rows; 1 is uniform attention.

        Undefined:
            nan where no row of the sample sees a token of the segment.
        """
        return self._mean("lift", N_SEGMENTS)

    @cached_property
    def lookback(self) -> Float[np.ndarray, "sample layer head"]:
        """Lookback ratio: mean weight of a context token over the sum of that and of a generated one, 0 to 1.

        Averaged over the rows; 0.5 looks at both alike. The context is every other segment, and the row's own token is
        among the generated ones.

        Undefined:
            nan where a row sees no token of the context.

        Source:
            Chuang et al. (2024), arXiv 2407.07071.
        """
        return self._mean("lookback", 1)[..., 0]

    @cached_property
    def lookback_checkpoints(self) -> dict[int, Float[np.ndarray, "sample layer head"]]:
        """Lookback ratios over the first 1, 2, 4, 8, ... rows only, as in `checkpoints`."""
        return {n_tokens: self._mean("lookback", 1, n_tokens)[..., 0] for n_tokens in self.checkpoints}

    @cached_property
    def contribution(self) -> Float[np.ndarray, "sample layer head segment"]:
        """Share of what a head writes that comes from each segment, averaged over the rows.

        Per row it is the norm of attention applied to the values of that segment only, through the head's slice of
        the output projection, over the sum of the five norms. Layers in `projected` have such a projection; in the
        others another operation comes between the heads and it, and the norm is that of the head's own output.

        Undefined:
            nan where `listen` was not asked for it, and where the values are not seen.

        Source:
            Norm-based attention: Kobayashi et al. (2020), arXiv 2004.10102, for segments instead of single tokens.
        """
        return self._mean("contribution", N_SEGMENTS)

    @cached_property
    def entropy(self) -> Float[np.ndarray, "sample layer head"]:
        """Entropy (nats) of each head's weights over the tokens, averaged over the rows; 0 looks at one token only.

        Undefined:
            nan where `listen` was not asked for it.
        """
        return self._mean("entropy", 1)[..., 0]
