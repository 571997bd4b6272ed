"""Samples of inspect_ai: the conversation up to the last generated answer, and every score of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foretell.records.logs.logged_answer import LogFieldError, LoggedAnswer, LogHeader, kind_of_task
from foretell.records.logs.scores import scores_of

__all__ = ["header_of", "sample_answer"]

_NO_MODEL = "none/none"
_SHOWN = 120


def header_of(log: Mapping[str, Any]) -> LogHeader:
    """Return what the header of a log says; fields that are lacking are None."""
    evaluation = log.get("eval")
    evaluation = evaluation if isinstance(evaluation, Mapping) else {}
    headline = evaluation.get("headline_metric")
    headline = headline if isinstance(headline, Mapping) else {}
    parts = [part for part in (headline.get("scorer"), headline.get("score")) if part]
    model = evaluation.get("model")
    return LogHeader(
        "inspect",
        task=str(evaluation["task"]) if evaluation.get("task") else None,
        writer=str(model) if model and model != _NO_MODEL else None,
        headline=".".join(dict.fromkeys(map(str, parts))) or None,
    )


def sample_answer(record: Mapping[str, Any]) -> LoggedAnswer:
    """Return a sample's answer: its last assistant turn that is not part of the input.

    Raises:
        LogFieldError: Its messages are not where samples have them, or refer to a text that the log does not hold.
    """
    attachments = _attachments(record)
    turns = [_turn(turn, attachments) for turn in _turns(record, attachments)]
    answered = [place for place, turn in enumerate(turns) if turn["role"] == "assistant" and not turn.pop("asked")]
    asked, answer = (turns[: answered[-1]], turns[answered[-1]]) if answered else (turns, None)
    for turn in asked:
        turn.pop("asked", None)
        if isinstance(turn["content"], _Parts):
            turn["content"] = turn["content"].without_reasoning()
    name, epoch = str(record.get("id")), record.get("epoch", 1)
    scores = record.get("scores")
    if not isinstance(scores, Mapping):
        scores = {"score": record["score"]} if isinstance(record.get("score"), Mapping) else {}
    values = {key: score.get("value") if isinstance(score, Mapping) else score for key, score in scores.items()}
    return LoggedAnswer(
        id=name if epoch == 1 else f"{name}-epoch-{epoch}",
        group=name,
        stratum=kind_of_task(record.get("metadata")),
        messages=asked,
        answer=None if answer is None else _text(answer, len(asked) + 1),
        scores=scores_of(values),
        unlabelled=_unlabelled(record, scores),
    )


def _unlabelled(record: Mapping[str, Any], scores: Mapping[str, Any]) -> str | None:
    """Return why no score of a sample counts: it failed, was declared invalid, or was not scored."""
    error = record.get("error")
    if error:
        message = error.get("message") if isinstance(error, Mapping) else error
        return f"the sample failed: {str(message)[:_SHOWN]}"
    if record.get("invalidation"):
        return "the sample was declared invalid"
    if not scores:
        return "the sample was not scored: no score is 0 or 1 (there are none)"
    return None


def _turns(record: Mapping[str, Any], attachments: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Return the messages of a sample; those of its input where it failed before there were others."""
    turns = record.get("messages")
    if turns is None and isinstance(record.get("message_refs"), Sequence):
        turns = _from_pool(record)
    if turns == []:
        asked = _attached(record.get("input"), attachments)
        turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    if (
        not isinstance(turns, Sequence)
        or isinstance(turns, str)
        or not all(isinstance(turn, Mapping) for turn in turns)
    ):
        raise LogFieldError("messages", "is no list of messages: write the log again with its messages in full")
    return list(turns)


def _from_pool(record: Mapping[str, Any]) -> list[Any]:
    """Return messages that are stored once for all their uses, by ranges of places."""
    pool = record.get("message_pool")
    if not isinstance(pool, Sequence):
        pool = (record.get("events_data") or {}).get("messages") or []
    try:
        return [pool[place] for start, stop in record["message_refs"] for place in range(start, stop)]
    except (IndexError, TypeError, ValueError) as error:
        raise LogFieldError("message_refs", "refers to messages that the log does not hold") from error


class _Parts(list[Any]):
    """Content of texts and reasoning."""

    def without_reasoning(self) -> str:
        return "".join(part["text"] for part in self if part.get("type") != "reasoning")

    def with_reasoning(self) -> str:
        """Return the text with what was reasoned before it, as models write it that mark it."""
        found = ""
        for part in self:
            if part.get("type") != "reasoning":
                found += part["text"]
            elif part.get("reasoning") and not part.get("redacted"):
                found += f"<think>\n{part['reasoning'].strip()}\n</think>\n\n"
        return found


def _turn(turn: Mapping[str, Any], attachments: Mapping[str, str]) -> dict[str, Any]:
    """Return a message with what it needs, its texts in place."""
    content = turn.get("content")
    if isinstance(content, list):
        parts = [_attached_part(part, attachments) for part in content]
        content = _Parts(parts) if parts and all(map(_is_readable, parts)) else parts
    else:
        content = _attached(content, attachments)
    kept = {name: turn[name] for name in ("tool_calls", "function_call") if turn.get(name)}
    return {"role": turn.get("role"), "content": content, "asked": turn.get("source") == "input", **kept}


def _text(answer: Mapping[str, Any], number: int) -> str:
    """Return the text of an answer.

    Raises:
        LogFieldError: It is something else than text.
    """
    if answer.get("tool_calls") or answer.get("function_call"):
        raise LogFieldError("messages", f"message {number} has tool_calls, which are no text that a message can hold")
    content = answer["content"]
    if isinstance(content, _Parts):
        return content.with_reasoning()
    if not isinstance(content, str):
        raise LogFieldError("messages", f"message {number} has a content that is no text")
    return content


def _is_readable(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    if part.get("type") == "reasoning":
        return isinstance(part.get("reasoning", ""), str)
    return part.get("type") in {None, "text"} and isinstance(part.get("text"), str)


def _attachments(record: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the long texts that a sample keeps apart; the oldest logs have them beside their events."""
    found = record.get("attachments")
    transcript = record.get("transcript")
    if not found and isinstance(transcript, Mapping):
        found = transcript.get("content")
    return found if isinstance(found, Mapping) else {}


def _attached(content: Any, attachments: Mapping[str, str]) -> Any:
    """Return a text, or one that is kept elsewhere in the log."""
    if isinstance(content, str) and content.startswith(("attachment://", "tc://")):
        key = content.split("://", 1)[1]
        if key not in attachments:
            raise LogFieldError("messages", f"refers to the attachment {key[:12]}, which the log does not hold")
        return attachments[key]
    return content


def _attached_part(part: Any, attachments: Mapping[str, str]) -> Any:
    if not isinstance(part, Mapping):
        return part
    return {**part, **{name: _attached(part[name], attachments) for name in ("text", "reasoning") if name in part}}
