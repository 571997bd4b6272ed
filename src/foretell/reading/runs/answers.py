"""One batch of samples through the model under `listen`: answers given, or generated, with the same numbers.

It knows neither tables nor runs.

    answered = force(model, rendered, directions=(lying,))
    answered = generate(model, rendered, directions=(lying,), sampling=Sampling(max_new_tokens=48))
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from foretell.jobs.readable_direction import ReadableDirection
from foretell.jobs.reading_settings import Sampling
from foretell.reading.capture.listen import Capture, listen
from foretell.reading.chat.rendered import Batch
from foretell.reading.chat.spans import Rendered, pad_batch
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import accepts, cache_argument, cache_from
from foretell.reading.runs.prefix_cache import first_tokens, prompts_once, shareable_tokens
from foretell.schema.tables import SEGMENTS
from foretell.storage.answered import Answered
from foretell.storage.state_choice import PooledStates, StateChoice, states_by_sample

__all__ = ["Sampling", "force", "generate", "generated_after", "generation_options"]

_GENERATED = SEGMENTS.index("generated")


def force(
    model: Model,
    rendered: Sequence[Rendered],
    *,
    directions: Sequence[ReadableDirection] = (),
    detail: bool = False,
    rows: bool = False,
    states: StateChoice | None = None,
) -> list[Answered]:
    """Read given answers in one forward pass; where all of them begin alike, in one for the first and one for the rest.

    Args:
        model: A loaded model.
        rendered: Conversations with their answers, each of at least one generated token.
        directions: Concepts whose activity is read.
        detail: Also read contributions, and the entropies of heads and tokens.
        rows: Also keep the mass of every row.
        states: Hidden states to read.
    """
    ask = functools.partial(_forced, model, directions=directions, detail=detail, rows=rows, states=states)
    n_tokens = shareable_tokens(model, rendered)
    if not n_tokens:
        return ask(rendered)[0]
    first, memory = ask(rendered[:1], use_cache=True)
    with torch.inference_mode():
        cache = first_tokens(memory, n_tokens, n_samples=len(rendered) - 1)
    return first + ask(rendered[1:], cache=cache)[0]


def _forced(
    model: Model,
    rendered: Sequence[Rendered],
    *,
    directions: Sequence[ReadableDirection],
    detail: bool,
    rows: bool,
    states: StateChoice | None,
    use_cache: bool = False,
    cache: Cache | None = None,
) -> tuple[list[Answered], object]:
    """Read answers in one forward pass; also return the model's memory of it."""
    batch = pad_batch(rendered, pad_id=model.pad_id, side="right")
    n_known = 0 if cache is None else cache.get_seq_length()
    options: dict[str, object] = {"use_cache": use_cache or cache is not None}
    if cache is not None:
        options[cache_argument(model.model)] = cache
    if accepts(model.model, "logits_to_keep"):
        # logits over the vocabulary are the largest tensor of the pass, and only answers need them
        first = min(item.n_prompt_tokens for item in rendered)
        options["logits_to_keep"] = batch.token_ids.shape[1] - max(first - 1, 0)
    listening = listen(model, batch.segments, rows=rows, **_wanted(directions, states, detail=detail, rows=rows))
    with torch.inference_mode(), listening as capture:
        output = model.model(
            input_ids=batch.token_ids[:, n_known:].to(model.device),
            attention_mask=batch.attention_mask.to(model.device),
            **options,
        )
        memory = cache_from(output)
    hidden = states_by_sample(states, capture.hidden, capture.n_generated)
    answered = [
        _answered(capture, sample, item.token_ids, item.segments, offset=0, truncated=None, rows=rows, hidden=own)
        for sample, (item, own) in enumerate(zip(rendered, hidden, strict=True))
    ]
    return answered, memory


def generate(
    model: Model,
    rendered: Sequence[Rendered],
    *,
    sampling: Sampling,
    draws: Sequence[str] | None = None,
    directions: Sequence[ReadableDirection] = (),
    detail: bool = False,
    rows: bool = False,
    states: StateChoice | None = None,
) -> list[Answered]:
    """Let the model answer, and read it while it does; a prompt that comes several times is fed once.

    The token that ends a turn belongs to the template, not to the answer, so that reading the stored answer again
    gives the same numbers. The conversations have no answers. What is drawn of a sample follows the seed and its name
    in `draws` (its place in the batch, where none is given), not the others of its batch. The rest is as in `force`.
    """
    batch = pad_batch(rendered, pad_id=model.pad_id, side="left")
    options = generation_options(model, sampling, draws or list(map(str, range(len(rendered)))))
    width = batch.token_ids.shape[1]
    with torch.inference_mode():
        cache = prompts_once(model, batch.token_ids, batch.attention_mask)
    listening = listen(model, batch.segments, **_wanted(directions, states, detail=detail, rows=rows))
    with torch.inference_mode(), listening as capture:
        memory = {} if cache is None else {cache_argument(model.model): cache}
        output = generated_after(model, batch, **options, **memory)
        fresh = output[:, width:].cpu().numpy()
        end_ids = options["generation_config"].eos_token_id
        ends = np.isin(fresh, [] if end_ids is None else end_ids)
        # An answer goes to the token that ended its turn, or to the last one.
        counts = np.column_stack([ends, np.ones(len(fresh), dtype=bool)]).argmax(axis=1)
        capture.keep(counts)
    hidden = states_by_sample(states, capture.hidden, counts)
    return [
        _answered(
            capture,
            sample,
            np.concatenate([item.token_ids, fresh[sample, : counts[sample]]]),
            np.concatenate([item.segments, np.full(counts[sample], _GENERATED, dtype=item.segments.dtype)]),
            offset=width - len(item.token_ids),
            truncated=bool(counts[sample] == sampling.max_new_tokens),
            rows=rows,
            hidden=hidden[sample],
        )
        for sample, item in enumerate(rendered)
    ]


def generated_after(model: Model, batch: Batch, **options: Any) -> Int[Tensor, "sample token"]:
    """Let the model go on after some prompts, and return the tokens of prompts and answers.

    Args:
        model: A loaded model, listened to or not.
        batch: The prompts, filled up on the left.
        options: Of `generate`, such as `generation_options` returns.
    """
    generate: Callable[..., Tensor] = model.model.generate  # type: ignore[assignment]  # untyped mixin
    return generate(
        input_ids=batch.token_ids.to(model.device), attention_mask=batch.attention_mask.to(model.device), **options
    )


def _wanted(
    directions: Sequence[ReadableDirection], states: StateChoice | None, *, detail: bool, rows: bool
) -> dict[str, Any]:
    """Return what is asked of `listen`; `rows`: whether every row is stored."""
    layers = () if states is None else states.layers
    more = {"contribution": detail, "entropy": detail, "previous_token": rows}
    return {"directions": directions, "hidden": layers, **more}


def generation_options(model: Model, sampling: Sampling, names: Sequence[str]) -> dict[str, Any]:
    """Return how `generate` is called: what is drawn of a sample follows the seed and its name."""
    own = model.model.generation_config
    ends = None if own is None else own.eos_token_id
    if ends is None:
        ends = model.tokenizer.eos_token_id
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=ends,
        pad_token_id=model.pad_id,
        # One sample whose scores are not finite would end the whole batch; it is told apart when it is read.
        remove_invalid_values=True,
        do_sample=False,
    )
    return {"generation_config": settings, "logits_processor": _drawing(sampling, names, model.device)}


class _OwnDraws(LogitsProcessor):
    """Adds noise of its own to the scores of each sample, so that the highest sum is a draw (the Gumbel-max trick)."""

    def __init__(self, names: Sequence[str], seed: int, device: torch.device) -> None:
        seeds = [int(sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).hexdigest()[:15], 16) for name in names]
        self._generators = [torch.Generator(device).manual_seed(one) for one in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() - noise.log()


def _drawing(sampling: Sampling, names: Sequence[str], device: torch.device) -> LogitsProcessorList:
    """Return what makes the likeliest token a draw; nothing where the likeliest one itself is taken."""
    if sampling.temperature == 0.0:
        return LogitsProcessorList()
    nucleus = [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1.0 else []
    own = _OwnDraws(names, sampling.seed, device)
    return LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature), *nucleus, own])


def _answered(
    capture: Capture,
    sample: int,
    token_ids: np.ndarray,
    segments: np.ndarray,
    *,
    offset: int,
    truncated: bool | None,
    rows: bool,
    hidden: PooledStates,
) -> Answered:
    places = offset + np.flatnonzero(segments == _GENERATED)
    return Answered(
        token_ids=np.asarray(token_ids),
        segments=np.asarray(segments),
        layers=tuple(int(layer) for layer in capture.layers),
        mass=capture.mass[sample],
        lift=capture.lift[sample],
        contribution=capture.contribution[sample],
        entropy=capture.entropy[sample],
        lookback=capture.lookback[sample],
        checkpoints={
            n_tokens: (mass[sample], capture.lookback_checkpoints[n_tokens][sample])
            for n_tokens, mass in capture.checkpoints.items()
            if n_tokens <= len(places)
        },
        activity=capture.activity[sample][:, places],
        logprob=capture.logprob[sample, places],
        token_entropy=capture.token_entropy[sample, places],
        margin=capture.margin[sample, places],
        truncated=truncated,
        hidden=hidden,
        row_mass=capture.row_mass[sample, :, :, : len(places)].astype(np.float16) if rows else None,
        row_previous=capture.row_previous_token[sample, :, :, : len(places)].astype(np.float16) if rows else None,
    )
