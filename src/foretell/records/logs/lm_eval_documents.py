"""Documents of lm-evaluation-harness: one record per document and filter, with requests, responses and metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foretell.records.logs.chat_markup import messages_of_markup
from foretell.records.logs.logged_answer import LogFieldError, LoggedAnswer, LogHeader, kind_of_task
from foretell.records.logs.scores import Score, scores_of

__all__ = ["document_answers", "document_scores", "filter_of", "header_beside"]

_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d[.\d]*)\.jsonl(?:\.gz)?")
_NO_METRICS = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}
_LENGTHS: dict[str, Callable[[str], int]] = {"acc_norm": len, "acc_bytes": lambda text: len(text.encode())}
"""Metrics that compare log-likelihoods per sign or byte of the continuation."""

Request = tuple[Any, Any]


def header_beside(path: Path | None) -> LogHeader:
    """Return what a log's name says, and the results that were written with it, where they are beside it."""
    named = None if path is None else _NAME.fullmatch(path.name)
    if path is None or named is None:
        return LogHeader("lm-eval")
    writer = None
    for results in sorted(path.parent.glob(f"*_{named['date']}.json")):
        try:
            found = json.loads(results.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        writer = found.get("model_name") if isinstance(found, dict) else None
        writer = writer or (found.get("config") or {}).get("model") if isinstance(found, dict) else None
    return LogHeader("lm-eval", task=named["task"], writer=str(writer) if writer else None)


def filter_of(record: Mapping[str, Any]) -> str:
    """Return the filter whose result a record scores; a document has one record for each."""
    return str(record.get("filter") or "none")


def document_scores(record: Mapping[str, Any]) -> dict[str, Score]:
    """Return the metrics of a record, named with their filter where it has a name of its own."""
    names = record.get("metrics")
    if not isinstance(names, Sequence) or isinstance(names, str):
        names = [name for name in record if name not in _NO_METRICS]
    suffix = "" if filter_of(record) == "none" else f",{filter_of(record)}"
    return {f"{name}{suffix}": score for name, score in scores_of({n: record.get(n) for n in names}).items()}


def document_answers(record: Mapping[str, Any], *, scorer: str | None) -> Iterator[LoggedAnswer]:
    """Yield the answers to a document: one, or one for each repeat.

    The answer to a choice is the likeliest continuation (per sign where the score is `acc_norm`). Repeats share one
    score, which labels none of them.

    Raises:
        LogFieldError: The prompt or the answer is not where such records have them.
    """
    requests = _requests(record.get("arguments"))
    responses = record["resps"]
    if not isinstance(responses, Sequence) or isinstance(responses, str) or not responses:
        raise LogFieldError("resps", "is no list of responses")
    scores = document_scores(record)
    prompt, answers = _generated(responses, requests) or _chosen(responses, requests, scorer or next(iter(scores), ""))
    messages, beginning = _messages(prompt)
    name = str(record.get("doc_id", record.get("doc_hash", "")))
    for number, answer in enumerate(answers, start=1):
        yield LoggedAnswer(
            id=name if number == 1 else f"{name}-{number}",
            group=name,
            stratum=kind_of_task(record.get("doc")),
            messages=messages,
            answer=beginning + answer,
            scores=scores,
            unlabelled=None if len(answers) == 1 else f"one score for {len(answers)} answers",
        )


def _requests(arguments: Any) -> list[Request]:
    """Return prompt and continuation (or settings) of each request, in both forms that versions write."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    found = []
    for one in given if isinstance(given, Sequence) and not isinstance(given, str) else []:
        parts = list(one.values()) if isinstance(one, Mapping) else one
        if isinstance(parts, Sequence) and not isinstance(parts, str) and parts:
            if not isinstance(parts[0], Sequence):
                raise _not_a_prompt(parts[0])
            found.append((parts[0], parts[1] if len(parts) > 1 else None))
    if not found:
        raise LogFieldError("arguments", "holds no prompt: a log of lm-evaluation-harness has arguments and resps")
    return found


def _not_a_prompt(prompt: object) -> LogFieldError:
    kind = type(prompt).__name__
    return LogFieldError("arguments", f"has a prompt that is a {kind}, not a text or a list of messages")


def _messages(prompt: Any) -> tuple[list[Mapping[str, Any]], str]:
    """Return a prompt as messages, and how its answer begins; a chat is a JSON text of messages, or was rendered."""
    if isinstance(prompt, Sequence) and not isinstance(prompt, str) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt.lstrip().startswith("["):
        try:
            parsed = json.loads(prompt)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list) and parsed and all(isinstance(one, Mapping) and "role" in one for one in parsed):
            prompt = parsed
    if isinstance(prompt, str):
        rendered = messages_of_markup(prompt)
        return ([{"role": "user", "content": prompt}], "") if rendered is None else (list(rendered[0]), rendered[1])
    if not isinstance(prompt, Sequence) or not all(isinstance(one, Mapping) for one in prompt):
        raise _not_a_prompt(prompt)
    if prompt and prompt[-1].get("role") == "assistant" and isinstance(prompt[-1].get("content"), str):
        return list(prompt[:-1]), prompt[-1]["content"]
    return list(prompt), ""


def _generated(responses: Sequence[Any], requests: Sequence[Request]) -> tuple[Any, list[str]] | None:
    """Return the prompt and the generated texts, one per repeat; None where nothing was generated."""
    first = responses[0]
    texts = list(first) if isinstance(first, Sequence) and not isinstance(first, str) else [first]
    if texts and all(isinstance(text, str) for text in texts) and not isinstance(requests[0][1], str | None):
        return requests[0][0], texts
    return None


def _chosen(responses: Sequence[Any], requests: Sequence[Request], metric: str) -> tuple[Any, list[str]]:
    """Return the prompt and the continuation that was likeliest."""
    if len(responses) != len(requests) or not all(isinstance(text, str) for _, text in requests):
        what = "are neither generated texts nor log-likelihoods of continuations of a prompt"
        if all(text is None for _, text in requests):
            what += " (a text was scored as a whole, which answers nothing)"
        raise LogFieldError("resps", what)
    # some metrics also ask how likely a continuation is after nothing
    asked = [place for place, (prompt, _) in enumerate(requests) if prompt] or list(range(len(requests)))
    length: Callable[[str], int] = _LENGTHS.get(metric.split(",", 1)[0], lambda _: 1)

    def likelihood(place: int) -> float:
        return _first_number(responses[place]) / max(length(str(requests[place][1]).lstrip()), 1)

    best = max(asked, key=likelihood)
    return requests[best][0], [requests[best][1]]


def _first_number(response: Any) -> float:
    while isinstance(response, Sequence) and not isinstance(response, str) and response:
        response = response[0]
    try:
        return float(response)
    except (TypeError, ValueError) as error:
        raise LogFieldError("resps", f"holds {str(response)[:40]!r} where a log-likelihood should be") from error
