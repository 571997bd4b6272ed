"""Logs of evaluation harnesses as answers with their scores, one at a time, whatever harness and version wrote them.

    log = open_log("logs/2025-02-11_popularity.eval", bad=bad)
    for row, answer in log.answers(bad=bad): ...
    log.rule_for(scores, wanted=None)

The files are read as JSON and not by the readers of the harnesses: these hold a whole log in memory, validate every
event of it, need the version that wrote it or a newer one, and come with some hundred packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foretell.errors import located
from foretell.records.content import Content, open_content
from foretell.records.json_text import read_json
from foretell.records.logs.inspect_samples import header_of, sample_answer
from foretell.records.logs.lm_eval_documents import document_answers, document_scores, filter_of, header_beside
from foretell.records.logs.log_object import LogObject, is_log_object
from foretell.records.logs.logged_answer import LogFieldError, LoggedAnswer, LogHeader
from foretell.records.logs.scores import LabelRule, Score, label_rule
from foretell.records.logs.zipped_log import read_archive_header, read_log_archive
from foretell.records.skipped import BadRecords, Skipped

__all__ = ["EvaluationLog", "is_log", "log_of_records", "open_log", "require_no_scorer", "with_way_out"]

Numbered = Iterable[tuple[int, Mapping[str, Any]]]

_NEWEST = 3
"""Format of inspect_ai's logs; later ones may mean something else by the same fields."""
_LOOKED_AT = 100
"""So many records at most are looked at to tell what a file is, where the first ones are damaged."""


@dataclass
class EvaluationLog:
    """A log whose records have not been read yet; they can be read once."""

    name: str
    header: LogHeader
    _records: Numbered
    _filters: list[tuple[int, str]] = field(default_factory=list)
    """Record and filter of each score, where there are several filters."""

    def answers(self, *, bad: BadRecords, scorer: str | None = None) -> Iterator[tuple[int, LoggedAnswer]]:
        """Yield each answer with the number of its record.

        Records that score the same answers by another filter add to the scores of answers that were yielded before.

        Args:
            bad: Takes records that do not have what such records have.
            scorer: Name of the score that shall label the answers; it can decide which choice was the answer.
        """
        documents: dict[object, tuple[str, list[dict[str, Score]]]] = {}
        n_records = 0
        for row, record in self._records:
            n_records += 1
            try:
                if "resps" not in record:
                    yield row, sample_answer(record)
                    continue
                key, filter_ = record.get("doc_id", record.get("doc_hash")), filter_of(record)
                self._filters.append((row, filter_))
                first, scored = documents.get(key, (filter_, []))
                if scored and filter_ != first:
                    for scores in scored:
                        scores |= document_scores(record)
                    continue
                found = list(document_answers(record, scorer=scorer))
            except LogFieldError as error:
                bad.add(row, with_way_out(error, bad), error.column, cause=error)
                continue
            documents[key] = (filter_, [answer.scores for answer in found])
            yield from ((row, answer) for answer in found)
        if not n_records and not bad.skipped:
            message = "holds no samples: the log was written without them, or nothing was finished"
            raise bad.error(located(self.name, message))

    def rule(self, scored: Iterable[Mapping[str, Score]], *, bad: BadRecords, scorer: str | None) -> LabelRule:
        """Return which score labels the answers, and list records that scored them by another filter.

        Args:
            scored: The scores of every answer, after all of them were yielded.
            bad: Takes the records of other filters; they are listed and never refused.
            scorer: Name of the score, see `foretell.records.logs.scores.label_rule`.

        Raises:
            InputError: (the class of `bad`) No score has this name.
        """
        try:
            rule = label_rule(scored, wanted=scorer, headline=self.header.headline, harness=self.header.harness)
        except KeyError as error:
            raise bad.error(located(self.name, str(error.args[0]))) from error
        if len({filter_ for _, filter_ in self._filters}) > 1:
            used = (rule.scorer or "").partition(",")[2] or "none"
            reason = f"scores the same answer by another filter; labels are by {used!r}"
            bad.skipped += [Skipped(row, reason, "filter") for row, filter_ in self._filters if filter_ != used]
        return rule


def is_log(record: Mapping[str, Any]) -> bool:
    """Whether a record is a document of lm-evaluation-harness or a sample of inspect_ai.

    Example:
        >>> is_log({"doc_id": 0, "doc": {}, "resps": [["a"]]}), is_log({"query": "a"})
        (True, False)
    """
    return {"doc", "resps"} <= set(record) or {"epoch", "target"} <= set(record)


def open_log(source: Any, *, bad: BadRecords, limit: int | None = None) -> EvaluationLog | None:
    """Return the log in a file, None where it is anything else.

    Args:
        source: A path; anything else is no file.
        bad: Takes samples that cannot be read.
        limit: At most so many records.

    Raises:
        InputError: (the class of `bad`) The file cannot be opened, is cut off before its samples, has none, or was
            written in a newer format.
    """
    if not isinstance(source, str | Path) or Path(source).is_dir():
        return None
    path = Path(source)
    content = open_content(path, error=bad.error)
    if content.container == "inspect":
        header = read_archive_header(path)
        _require_known(header, path, bad)
        return EvaluationLog(str(path), header_of(header), read_log_archive(path, bad=bad, limit=limit))
    if content.container != "jsonl":
        return None
    if is_log_object(content):
        return _of_object(content, bad, limit)
    looked_at = read_json(content, bad=BadRecords(path, "skip"), limit=_LOOKED_AT)
    first = next((record for _, record in looked_at), {})
    if isinstance(first.get("eval"), Mapping) and isinstance(first.get("samples"), list):
        _require_known(first, path, bad)
        samples = [one for one in first["samples"] if isinstance(one, Mapping)]
        return EvaluationLog(str(path), header_of(first), list(enumerate(samples[:limit], start=1)))
    if not is_log(first):
        return None
    return EvaluationLog(str(path), _header(first, path), read_json(content, bad=bad, limit=limit))


def log_of_records(records: Sequence[Mapping[str, Any]], numbers: Sequence[int], name: str) -> EvaluationLog | None:
    """Return the log whose records came in another way, such as a Parquet file; None where they are none."""
    if not records or not is_log(records[0]):
        return None
    return EvaluationLog(name, _header(records[0], None), list(zip(numbers, records, strict=True)))


def with_way_out(error: Exception, bad: BadRecords) -> str:
    """Return what is wrong with a sample, and what else can be done where that refuses the whole log."""
    hint = " (errors='skip', or --errors skip, leaves such samples out)" if bad.errors == "refuse" else ""
    return f"{error}{hint}"


def require_no_scorer(scorer: str | None, bad: BadRecords) -> None:
    """Refuse the name of a score for a source that is no log.

    Raises:
        InputError: (the class of `bad`) A score is named.
    """
    if scorer is not None:
        message = f"has no score {scorer!r}: it is no log of lm-evaluation-harness or inspect_ai; leave scorer out"
        raise bad.error(located(bad.name, message))


def _header(first: Mapping[str, Any], path: Path | None) -> LogHeader:
    return header_beside(path) if "resps" in first else LogHeader("inspect")


def _of_object(content: Content, bad: BadRecords, limit: int | None) -> EvaluationLog:
    try:
        log = LogObject(content)
    except (ValueError, RecursionError) as cause:
        message = f"is a log of inspect_ai that cannot be read: {str(cause)[:120]}"
        raise bad.error(located(content.path, message)) from cause
    try:
        _require_known(log.header, content.path, bad)
    except bad.error:
        log.close()
        raise
    return EvaluationLog(str(content.path), header_of(log.header), log.samples(bad=bad, limit=limit))


def _require_known(header: Mapping[str, Any], path: Path, bad: BadRecords) -> None:
    version = header.get("version")
    if isinstance(version, int) and version > _NEWEST:
        message = f"is a log of inspect_ai in format {version}; formats up to {_NEWEST} are read: a newer foretell may"
        raise bad.error(located(path, f"{message}, and `inspect log convert` writes other forms"))
