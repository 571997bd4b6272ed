"""Records of evaluation harnesses as records of our own shape: what was asked, what was answered, how it was scored.

Logs of lm-evaluation-harness have one record per document and filter; those of inspect_ai one per sample and epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from foretell.conversations.field_names import FieldError
from foretell.records.cells import label_of

__all__ = ["is_log", "log_filter", "own_records"]

_VALUES = {"C": 1, "I": 0, "N": 0}
"""Scores of inspect_ai that are letters: correct, incorrect, no answer; P (partly) is neither."""


def is_log(record: Mapping[str, Any]) -> bool:
    """Whether a record is a document of lm-evaluation-harness or a sample of inspect_ai.

    Example:
        >>> is_log({"doc_id": 0, "doc": {}, "resps": [["a"]]}), is_log({"query": "a"})
        (True, False)
    """
    return {"doc", "resps"} <= set(record) or {"epoch", "target"} <= set(record)


def log_filter(record: Mapping[str, Any]) -> str | None:
    """Return the filter whose result was scored; a document has one record per filter, with the same answer."""
    return str(record["filter"]) if "filter" in record and "resps" in record else None


def own_records(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a record of a log as records of our own shape: one, or one per answer where there are repeats.

    The label is the first score that is 0 or 1 (in inspect_ai also C and I), and null with a reason where there is
    none, or where one score is of several answers. The answer to a choice between continuations is the likeliest.

    Raises:
        FieldError: The prompt or the answer is not where such logs have it.
    """
    return _documents(record) if "resps" in record else [_sample(record)]


def _documents(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    requests = _requests(record.get("arguments"))
    asked = {"messages": _messages(requests[0][0])}
    answers = _answers(record["resps"], requests)
    metrics = record.get("metrics") or [name for name in ("exact_match", "acc") if name in record]
    label, source, reason = _label({str(name): record.get(name) for name in metrics}, "lm-eval")
    if len(answers) > 1:
        label, reason = None, f"one score for {len(answers)} answers"
    name = str(record.get("doc_id", record.get("doc_hash", "")))
    return [
        {
            **asked,
            "id": name if number == 1 else f"{name}-{number}",
            "group": name,
            "answer": answer,
            "behavior_label": label,
            "label_source": source,
            "label_reason": reason,
        }
        for number, answer in enumerate(answers, start=1)
    ]


def _requests(arguments: Any) -> list[tuple[Any, Any]]:
    """Return prompt and continuation (or settings) of each request, in both forms that versions write."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    found = []
    for one in given if isinstance(given, Sequence) and not isinstance(given, str) else []:
        parts = list(one.values()) if isinstance(one, Mapping) else one
        if isinstance(parts, Sequence) and not isinstance(parts, str) and parts:
            found.append((parts[0], parts[1] if len(parts) > 1 else None))
    if not found:
        raise FieldError("arguments", "holds no prompt: a log of lm-evaluation-harness has arguments and resps")
    return found


def _messages(prompt: Any) -> Any:
    """Return a prompt as messages; a chat is a JSON text of them, alone or in a list."""
    if isinstance(prompt, Sequence) and not isinstance(prompt, str) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt.lstrip().startswith("["):
        try:
            parsed = json.loads(prompt)
        except ValueError:
            parsed = None
        if isinstance(parsed, list) and parsed and all(isinstance(one, Mapping) and "role" in one for one in parsed):
            return parsed
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, Sequence) and all(isinstance(one, Mapping) for one in prompt):
        return prompt
    raise FieldError("arguments", f"has a prompt that is a {type(prompt).__name__}, not a text or a list of messages")


def _answers(responses: Any, requests: Sequence[tuple[Any, Any]]) -> list[str]:
    """Return the generated texts, or the likeliest of the given continuations."""
    if not isinstance(responses, Sequence) or isinstance(responses, str) or not responses:
        raise FieldError("resps", "is no list of responses")
    first = responses[0]
    texts = first if isinstance(first, Sequence) and not isinstance(first, str) else [first]
    if texts and all(isinstance(text, str) for text in texts) and not isinstance(requests[0][1], str):
        return list(texts)
    if len(responses) == len(requests) and all(isinstance(continuation, str) for _, continuation in requests):
        likelihoods = [_first_number(response) for response in responses]
        if all(asked == requests[0][0] for asked, _ in requests):
            return [requests[likelihoods.index(max(likelihoods))][1]]
    raise FieldError("resps", "are neither generated texts nor log-likelihoods of continuations of one prompt")


def _first_number(response: Any) -> float:
    while isinstance(response, Sequence) and not isinstance(response, str) and response:
        response = response[0]
    try:
        return float(response)
    except (TypeError, ValueError) as error:
        raise FieldError("resps", f"holds {str(response)[:40]!r} where a log-likelihood should be") from error


def _sample(record: Mapping[str, Any]) -> dict[str, Any]:
    turns = record.get("messages")
    if (
        not isinstance(turns, Sequence)
        or isinstance(turns, str)
        or not all(isinstance(turn, Mapping) for turn in turns)
    ):
        raise FieldError("messages", "is no list of messages: write the log again with its messages in full")
    attachments = record.get("attachments") or {}
    turns = [{**turn, "content": _attached(turn.get("content"), attachments)} for turn in turns]
    answered = [place for place, turn in enumerate(turns) if turn.get("role") == "assistant"]
    scores = record.get("scores") or {}
    values = {name: score.get("value") if isinstance(score, Mapping) else score for name, score in scores.items()}
    label, source, reason = _label(values, "inspect")
    name, epoch = str(record.get("id")), record.get("epoch", 1)
    return {
        "id": name if epoch == 1 else f"{name}-epoch-{epoch}",
        "dataset": record.get("dataset"),
        "group": name,
        "messages": turns[: answered[-1] + 1] if answered else turns,
        "behavior_label": label,
        "label_source": source,
        "label_reason": reason,
    }


def _attached(content: Any, attachments: Mapping[str, str]) -> Any:
    """Return a content with long texts that are kept elsewhere in the log put back."""
    if isinstance(content, str) and content.startswith(("attachment://", "tc://")):
        key = content.split("://", 1)[1]
        if key not in attachments:
            raise FieldError("messages", f"refers to the attachment {key[:12]}, which the log does not hold")
        return attachments[key]
    if isinstance(content, list):
        return [_attached_part(part, attachments) for part in content]
    return content


def _attached_part(part: Any, attachments: Mapping[str, str]) -> Any:
    if isinstance(part, Mapping) and "text" in part:
        return {**part, "text": _attached(part["text"], attachments)}
    return part


def _label(scores: Mapping[str, Any], harness: str) -> tuple[int | None, str | None, str | None]:
    """Return the first score that is 0 or 1, where it is from, and otherwise why there is none."""
    for name, value in scores.items():
        try:
            label = _VALUES[value] if isinstance(value, str) and value in _VALUES else label_of(value)
        except ValueError:
            continue
        if label is not None:
            return label, f"{harness} {name}", None
    shown = ", ".join(f"{name} is {str(value)[:20]}" for name, value in list(scores.items())[:3])
    return None, None, f"no score is 0 or 1 ({shown or 'there are none'})"
