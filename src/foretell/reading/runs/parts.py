"""One planned batch of conversations: read, and written as one part of a run; a sample that fails is a row.

Its numbers depend on the settings and the sample alone, up to rounding: neither on the batch that it is in, nor on the
process that reads it.

    n_samples, n_failed = read_part(model, settings, run, part)
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from foretell.conversations.conversation import Conversation
from foretell.errors import InputError
from foretell.jobs.attempts import Failure, attempt
from foretell.jobs.batches import Part
from foretell.jobs.finite import not_finite
from foretell.jobs.reading_settings import Settings, stop_at_first
from foretell.reading.chat.spans import Rendered
from foretell.reading.chat.tokens import token_texts
from foretell.reading.models.fingerprints import weights_fingerprint
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import force, generate
from foretell.storage.answered import Answered, Reading, Unread
from foretell.storage.runs import Run
from foretell.storage.sample_rows import tables
from foretell.storage.state_shards import write_states

__all__ = ["NO_TOKENS", "part_reader", "read_part"]

NO_TOKENS = "the answer has no tokens"
_Sample = tuple[Conversation, Rendered]


def part_reader(
    load: Callable[[], Model], settings: Settings, weights: str, place: str
) -> Callable[[Part[_Sample]], tuple[int, int]]:
    """Load the model of a job in another process, and return what reads a part there into the same run.

    Raises:
        InputError: The weights are not those of the job.
    """
    run = Run.at(place)
    model = replace(load(), name=run.job["model"])
    if (found := weights_fingerprint(model.model)) != weights:
        raise InputError(
            f"{model.name}: a worker has loaded other weights ({found}) than the run is read with ({weights}): "
            "save a model that was changed, give its folder, and let every machine see the same files"
        )
    return partial(read_part, model, settings, run)


def read_part(model: Model, settings: Settings, run: Run, part: Part[_Sample]) -> tuple[int, int]:
    """Read one batch into one part of a run; return how many samples it has, and how many could not be read.

    Raises:
        UnfinishedError: A sample cannot be read, and `settings.strict` asks to stop there.
    """
    wanted: dict[str, Any] = {name: getattr(settings, name) for name in ("directions", "detail", "rows", "states")}

    def answered(samples: Sequence[_Sample]) -> list[Answered]:
        batch = [item for _, item in samples]
        if settings.given:
            return force(model, batch, **wanted)
        ids = [conversation.id for conversation, _ in samples]
        return generate(model, batch, sampling=settings.sampling, draws=ids, **wanted)

    readings: list[Reading] = []
    unread: list[Unread] = []
    results = attempt(part.items, answered, free=_free_memory)
    for (conversation, _), one in zip(part.items, results, strict=True):
        if isinstance(one, Failure):
            unread.append(Unread(conversation, conversation.answer if settings.given else None, one.reason))
        elif len(one.answer_ids):
            readings.append(_reading(model, settings, conversation, one))
        else:
            unread.append(Unread(replace(conversation, answer_token_ids=()), "", NO_TOKENS))
    if settings.strict:
        stop_at_first((one.conversation.id, one.reason) for part_of in (unread, readings) for one in part_of)
    concepts = [direction.concept for direction in settings.directions]
    found = tables(readings, unread, model=model.name, concepts=concepts, given=settings.given)
    if settings.states is not None:
        states = {one.conversation.id: one.signals.hidden for one in readings if one.reason is None}
        layers, dtype = settings.states.layers, settings.states.dtype
        found["hidden"] = write_states(run.path / "hidden", part.name, layers, states, dtype)
    run.append(part.name, found)
    return len(part.items), len(unread) + sum(one.reason is not None for one in readings)


def _reading(model: Model, settings: Settings, conversation: Conversation, one: Answered) -> Reading:
    answer = conversation.answer if settings.given else None
    if answer is None:
        answer = str(model.tokenizer.decode(one.answer_ids.tolist(), skip_special_tokens=True))
    texts = tuple(token_texts(model.tokenizer, one.token_ids))
    reason = not_finite(one, settings.directions, model.dtype)
    return Reading(conversation=conversation, answer=answer, token_texts=texts, signals=one, reason=reason)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
