"""Logs of evaluation harnesses as conversations: one for each sample and epoch, with the answer and its label.

What logs look like is known by `foretell.records.logs` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from foretell.conversations.conversation import Conversation
from foretell.conversations.field_names import FieldError
from foretell.conversations.shapes import conversations_of
from foretell.errors import ConversationError
from foretell.records.logs.evaluation_log import EvaluationLog, with_way_out
from foretell.records.logs.logged_answer import LoggedAnswer
from foretell.records.logs.scores import Score
from foretell.records.skipped import BadRecords

__all__ = ["conversations_of_log", "note_on_writers"]


def conversations_of_log(
    log: EvaluationLog, *, dataset: str | None, scorer: str | None, bad: BadRecords
) -> list[Conversation]:
    """Return one conversation for each answer of a log.

    Args:
        log: A log whose records have not been read.
        dataset: Name of the set where the log does not name its task.
        scorer: Name of the score that labels the answers, see `foretell.records.logs.scores.label_rule`.
        bad: Takes records that cannot be used.

    Raises:
        ConversationError: A record cannot be used and may not be skipped, or no score has this name.
    """
    named = log.header.task if log.header.harness == "inspect" else None
    name = named or dataset or log.header.task or Path(log.name).stem.strip("<>")
    read: list[tuple[Conversation, Mapping[str, Score], str | None]] = []
    rows: dict[str, int] = {}
    for row, answer in log.answers(bad=bad, scorer=scorer):
        try:
            if answer.id in rows:
                raise FieldError("id", f"{answer.id!r} is the id of row {rows[answer.id]} too: ids must be unique")
            found = _conversation(answer, log, name, row)
        except ConversationError as error:
            bad.add(row, with_way_out(error, bad), getattr(error, "column", None), cause=error)
            continue
        rows[answer.id] = row
        read.append((found, answer.scores, answer.unlabelled))
    rule = log.rule((scores for _, scores, _ in read), bad=bad, scorer=scorer)
    for place, (found, scores, why_none) in enumerate(read):
        label, source, reason = rule.label(scores, why_none)
        labelled = replace(found, behavior_label=label, label_source=source, label_reason=reason or None)
        read[place] = (labelled, {}, None)
    return [found for found, _, _ in read]


def _conversation(answer: LoggedAnswer, log: EvaluationLog, dataset: str, row: int) -> Conversation:
    record = {
        "id": answer.id,
        "group": answer.group,
        "stratum": answer.stratum or log.header.task or dataset,
        "messages": answer.messages,
        "answer": answer.answer,
        "writer": log.header.writer,
    }
    [found] = conversations_of(record, "own", dataset=dataset, row=row)
    return found


def note_on_writers(conversations: Sequence[Conversation], reader: str) -> str | None:
    """Return a note where given answers are by another model than the one that reads them, else None.

    Names are compared by their last part in small letters: `hf/org/Model` and `./models/model` are one model.

    Example:
        >>> note_on_writers([Conversation("a", "d", (), "Yes", writer="openai/gpt-4o")], "org/small")
        'answers by openai/gpt-4o are read by org/small: what is recorded is how it reads the answers of another model'
    """
    writers = Counter(one.writer for one in conversations if one.writer and _plain(one.writer) != _plain(reader))
    if not writers:
        return None
    shown = ", ".join(name for name, _ in writers.most_common(3))
    part = "" if writers.total() == len(conversations) else f"{writers.total()} of {len(conversations)} "
    return (
        f"{part}answers by {shown} are read by {reader}: what is recorded is how it reads the answers of another model"
    )


def _plain(name: str) -> str:
    return name.replace("__", "/").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].casefold()
