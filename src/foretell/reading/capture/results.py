"""What a capture holds: masses, lift, activity and log-probabilities of the generated tokens, as arrays.

capture.mass            # (sample, layer, head, segment)
capture.keep([12, 40])  # only the first 12 and 40 generated tokens count
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.recording import GENERATED, Recording
from foretell.reading.signals.key_segments import N_SEGMENTS

__all__ = ["Capture"]

_MOST_PADDING = 1e-3
"""Mass of one row on padding that rounding does not explain, also in bfloat16."""


@runtime_checkable
class OpenBlock(Protocol):
    """What a capture needs while its block is open; it holds nothing of the model afterwards."""

    def flush(self) -> None:
        """Read what is deferred."""

    def finish(self, token_ids: Tensor) -> None:
        """Feed the last tokens that no pass has seen."""


class Capture:
    """What was read inside `foretell.listen`. Arrays are built when they are asked for.

    A *row* is a generated token as a query. The token axis has one place per token fed: those of `segments`, then
    those that `generate` added. After `generate` only the tokens of each sample's answer count, its end included.
    """

    def __init__(self, recording: Recording, block: OpenBlock) -> None:
        self._recording = recording
        self._block: OpenBlock | None = block

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

    def forget(self) -> None:
        """Drop built arrays, because more was read."""
        for name in [name for name in vars(self) if not name.startswith("_")]:
            del vars(self)[name]

    def close(self) -> None:
        """Drop the reference to the model at the end of the block."""
        self._block = None

    @cached_property
    def generated(self) -> Bool[np.ndarray, "sample token"]:
        """Which tokens are generated tokens that count.

        Raises:
            InputError: Nothing was read, or not all of it, or rows attend to padding.
        """
        if self._block is not None:
            self._block.flush()
        recording = self._recording
        n_columns, n_given = recording.n_columns, recording.segments.shape[1]
        if not n_columns:
            raise InputError(
                "nothing was read: no pass of this model was finished inside the block, in its own thread or coroutine "
                "(start a thread under contextvars.copy_context() to have its passes read)"
            )
        if n_columns < n_given:
            raise InputError(f"segments are for {n_given} tokens, and the model was given {n_columns}")
        every = np.asarray(recording.codes(n_columns) == GENERATED)
        if not every.any():
            raise InputError("segments have no generated token (code 4), and no token was generated: nothing was read")
        counted = every if recording.kept is None else every & (every.cumsum(1) <= recording.kept[:, None])
        missing = np.flatnonzero(counted.any(0) & ~recording.seen)
        if len(missing):
            raise InputError(f"the token at position {missing[0]} was never fed inside the block")
        # Behind a window, masses alone do not show that the tokens in it saw padding.
        is_seen = any(float(mass) > _MOST_PADDING for mass in recording.padding.values())
        if is_seen or recording.has_unmasked_padding:
            raise InputError(
                "generated tokens attend to padding (code -1): give the model the attention_mask that hides it"
            )
        return counted

    @property
    def n_generated(self) -> Int[np.ndarray, " sample"]:
        """Number of generated tokens that count, per sample."""
        return np.asarray(self.generated.sum(1), dtype=np.int64)

    @cached_property
    def layers(self) -> Int[np.ndarray, " layer"]:
        """Block index of each place on the layer axis of `mass`, `row_mass`, `lift`, `contribution` and `entropy`.

        Raises:
            NotReadableError: No attention call was seen.
        """
        expected = self.generated.any()
        found = self._recording.quantities.layers("mass")
        if not found and expected:
            raise NotReadableError(
                f"{self._recording.model_name}: none of its blocks looks its attention up in the library's interface"
            )
        return np.array(found, dtype=np.int64)

    @property
    def n_heads(self) -> int:
        """Most heads that a layer has."""
        return self._recording.quantities.n_heads("mass")

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
        if not self._recording.keeps_rows:
            raise InputError("row_mass: single rows were not kept; listen with rows=True")
        shape = (len(self.generated), len(self.layers), self.n_heads, int(self.n_generated.max(initial=0)), N_SEGMENTS)
        found = np.full(shape, np.nan, dtype=np.float32)
        for place, layer in enumerate(self.layers):
            rows = self._rows("mass", int(layer))
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

    @property
    def attention_entropy(self) -> Float[np.ndarray, "sample layer head"]:
        """The same as `entropy`."""
        return self.entropy

    @cached_property
    def activity(self) -> Float[np.ndarray, "sample layer token direction"]:
        """(hidden . direction - mean) / standard deviation, after each block and for each generated token.

        Undefined:
            nan where no generated token counts, and in layers where the direction has no standard deviation.
        """
        recording, generated = self._recording, self.generated
        n_samples, n_tokens = generated.shape
        values = np.full((n_samples, recording.n_layers, n_tokens, recording.n_directions), np.nan, dtype=np.float32)
        for layer in range(recording.n_layers):
            self._to_tokens("activity", layer, values[:, layer])
        return values

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

    def _token_numbers(self, quantity: str) -> Float[np.ndarray, "sample token"]:
        values = np.full((*self.generated.shape, 1), np.nan, dtype=np.float32)
        self._to_tokens(quantity, 0, values)
        return values[..., 0]

    def _to_tokens(self, quantity: str, layer: int, values: Float[np.ndarray, "sample token value"]) -> None:
        """Put rows of one layer at the places of their tokens."""
        rows = self._recording.rows.rows(quantity, layer, int(self.n_generated.max(initial=0)))
        if rows is not None:
            for sample, counted in enumerate(self.generated):
                values[sample, counted] = rows[sample, 0, : int(counted.sum())]

    def _rows(self, quantity: str, layer: int) -> Float[np.ndarray, "sample head row value"]:
        """Rows of one layer that count; nan beyond a sample's rows."""
        n_rows = int(self.n_generated.max(initial=0))
        rows = self._recording.rows.rows(quantity, layer, n_rows)
        if rows is None:
            return np.zeros((len(self.generated), 0, n_rows, 1), dtype=np.float32)
        beyond = np.arange(n_rows) >= self.n_generated[:, None]
        return np.where(beyond[:, None, :, None], np.float32(np.nan), rows)

    def _mean(self, quantity: str, n_values: int, n_tokens: int | None = None) -> np.ndarray:
        """Mean over the rows, or over the first `n_tokens` of samples that have as many; nan where there are none."""
        recording, layers = self._recording, self.layers
        if not recording.keeps_rows and n_tokens is not None and n_tokens & (n_tokens - 1):
            raise InputError(f"{n_tokens} tokens: single rows were not kept, only sums over 1, 2, 4, 8, ... tokens")
        means = np.full((len(self.generated), len(layers), self.n_heads, n_values), np.nan, dtype=np.float32)
        of_layer: Callable[[int], np.ndarray | None] = (
            (lambda layer: _mean_over_rows(self._rows(quantity, layer)[:, :, :n_tokens]))
            if recording.keeps_rows
            else (lambda layer: recording.sums.mean(quantity, layer, n_tokens))
        )
        for place, layer in enumerate(layers):
            mean = of_layer(int(layer))
            if mean is not None:
                means[:, place, : mean.shape[1]] = mean
        if n_tokens is not None:
            means[self.n_generated < n_tokens] = np.nan
        return means


def _mean_over_rows(values: Float[np.ndarray, "sample head row value"]) -> Float[np.ndarray, "sample head value"]:
    """Mean over the rows of what is not nan, in double precision; nan if nothing is."""
    counted = ~np.isnan(values)
    total = np.where(counted, values, 0).sum(2, dtype=np.float64)
    number = counted.sum(2)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return np.asarray(mean, dtype=np.float32)
