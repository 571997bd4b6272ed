"""Let a model answer while a monitor watches: prompts in, answers with their scores out.

for one in watched_answers(model, monitor, ["Who wrote Emma?"]):
    print(one.answer, one.alarm)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from foretell.conversations.formats import as_conversations
from foretell.monitors.live.watch import watch
from foretell.monitors.live.watching import OnScore, Scored
from foretell.reading.chat.rendered import pad_batch
from foretell.reading.chat.spans import render
from foretell.reading.runs.answers import Sampling, generated_after, generation_options

if TYPE_CHECKING:
    from foretell.monitors.monitor import Monitor
    from foretell.reading.models.load import Model

__all__ = ["WatchedAnswer", "watched_answers"]


@dataclass(frozen=True)
class WatchedAnswer:
    """One answer and its scores."""

    id: str
    answer: str
    n_generated: int
    """Tokens, without the one that ended the turn."""
    alarm: int | None
    """Tokens at the first alarm; None where there is none."""
    scores: tuple[Scored, ...]
    """In the order of the tokens."""


def watched_answers(
    model: Model,
    monitor: Monitor,
    prompts: Any,
    *,
    on_score: OnScore | None = None,
    stop: bool = False,
    every: int | None = None,
    sampling: Sampling | None = None,
) -> list[WatchedAnswer]:
    """Answer some prompts as one batch, as `foretell.read` would, and score the answers while they are written.

    Args:
        model: The model that the monitor was made from.
        monitor: The monitor.
        prompts: All that `as_conversations` takes; answers that they have are not looked at.
        on_score: As in `foretell.watch`, with the rest.
        stop: As there.
        every: As there.
        sampling: How answers are generated; None: greedily, 64 tokens at most.

    Raises:
        InputError: As in `foretell.watch`.
        SpanError: A prompt cannot be split into segments.
    """
    conversations = as_conversations(prompts)
    sampling = sampling or Sampling()
    batch = pad_batch([render(model, one, answer=None) for one in conversations], pad_id=model.pad_id, side="left")
    with (
        torch.inference_mode(),
        watch(model, monitor, on_score, stop, segments=batch.segments, every=every) as watching,
    ):
        options = generation_options(model, sampling, [one.id for one in conversations])
        output = generated_after(model, batch, **options)
    found = []
    for sample, one in enumerate(conversations):
        n_generated = int(watching.n_generated[sample])
        first = batch.token_ids.shape[1]
        ids = output[sample, first : first + n_generated].tolist()
        scores = tuple(score for score in watching.scored if score.sample == sample)
        answer = str(model.tokenizer.decode(ids, skip_special_tokens=True))
        found.append(WatchedAnswer(one.id, answer, n_generated, watching.alarms.get(sample), scores))
    return found
