"""Conversations from files in our own format, Alpaca, ShareGPT or FLAN, and from plain Python.

conversations = read_conversations("prompts.jsonl")
conversations = as_conversations("Who wrote Faust?")
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from foretell.conversations.conversation import Conversation
from foretell.conversations.field_names import KNOWN_NAMES, FieldError, canonical_name
from foretell.conversations.harness_logs import conversations_of_log
from foretell.conversations.shapes import Shape, conversations_of, shape_of
from foretell.errors import ConversationError, located
from foretell.records.content import Container
from foretell.records.logs.evaluation_log import log_of_records, open_log, require_no_scorer
from foretell.records.reader import Records, read_records
from foretell.records.skipped import BadRecords, Errors, ReadList

__all__ = ["Format", "as_conversations", "read_conversations"]

Format = Literal["auto", "jsonl", "parquet", "csv", "alpaca", "sharegpt", "flan"]

_EXPECTED = (
    "expected messages, or prompt and query (own shape); instruction, input, output (Alpaca); "
    "conversations (ShareGPT); or question, answer, rationale (FLAN)"
)
_NEEDED: dict[Shape, set[str]] = {
    "own": {"messages", "query", "prompt", "input"},
    "alpaca": {"instruction"},
    "sharegpt": {"conversations"},
    "flan": {"question"},
}
"""Fields of which a record of each shape has one."""
_HEADERS = KNOWN_NAMES | {name.title() for name in KNOWN_NAMES} | {name.upper() for name in KNOWN_NAMES}


def read_conversations(
    path: Any,
    *,
    format: Format = "auto",
    dataset: str | None = None,
    limit: int | None = None,
    errors: Errors = "refuse",
    ignore: Collection[str] = (),
    scorer: str | None = None,
) -> ReadList[Conversation]:
    """Read the conversations of a file or frame, in its order.

    Args:
        path: JSON list, JSON lines, CSV with any separator, Parquet or Arrow, also gzipped; its content decides, not
            its name. Or a log of lm-evaluation-harness or inspect_ai, a table of polars, pandas or pyarrow, or a list
            of dicts.
        format: `auto` tells the shape by the fields. `jsonl`, `parquet`, `csv`: our own shape in that container.
            `alpaca`, `sharegpt`, `flan`: that shape in any container.
        dataset: Name of the set for records that name none; without it the shape's name, or the file's for our own.
        limit: At most so many records, from the first on.
        errors: "refuse" raises at the first record that does not fit; "skip" leaves such records out.
        ignore: Names of fields that hold text and shall not be read.
        scorer: Name of the score of a log that labels its answers, such as `match` or `exact_match,strict-match`;
            without it the one that the log puts first, or else the first that is 0 or 1 for at least half of them.

    Returns:
        One conversation per record, or per entry of its `instances`, as a list; `.skipped` names the records that were
        left out. In every shape the fields id, dataset, group, stratum, verifier, behaviour, behavior_label,
        label_source, label_reason and answer_token_ids carry through, and fields may have their other usual names
        (response, completion, system_prompt, context, history). A record without an id gets its set's name and its
        record number.

    Raises:
        ConversationError: The file is missing, empty, not UTF-8 or of no known shape; a record does not fit or holds
            text under a name that is not known; or two records have one id. The message names file, row, column and
            what to do.

    Undefined:
        `answer` is None where the file gives none (for Alpaca and FLAN, and in CSV, an empty text is none).

    Example:
        >>> import json, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "small.json")
        >>> _ = path.write_text(json.dumps([{"instruction": "Translate.", "input": "chat", "output": "cat"}]))
        >>> read_conversations(path)[0].id
        'alpaca-1'
    """
    if format not in get_args(Format):
        raise ConversationError(f"there is no format {format!r}: use {', '.join(get_args(Format))}")
    bad = BadRecords(path if isinstance(path, Path) else str(path), errors, ConversationError)
    log = open_log(path, bad=bad, limit=limit)
    if log is None:
        records = read_records(path, error=ConversationError, known=_HEADERS, limit=limit, errors=errors)
        bad = BadRecords(records.name, errors, ConversationError, list(records.skipped))
        if not records.entries:
            bad.require_some(0)
        log = log_of_records(records.entries, records.numbers, records.name)
    if log is not None:
        logged = conversations_of_log(log, dataset=dataset, scorer=scorer, bad=bad)
        bad.require_some(len(logged))
        return ReadList(logged, sorted(bad.skipped, key=lambda one: one.row))
    require_no_scorer(scorer, bad)
    shape = _shape(records, format)
    name = dataset or (Path(records.name).stem.strip("<>") if shape == "own" else shape)
    conversations: list[Conversation] = []
    rows: dict[str, int] = {}
    for row, record in zip(records.numbers, records.entries, strict=True):
        try:
            entries = conversations_of(record, shape, dataset=name, row=row, ignore=ignore)
            for entry in entries:
                if entry.id in rows:
                    raise FieldError("id", f"{entry.id!r} is the id of row {rows[entry.id]} too: ids must be unique")
        except ConversationError as error:
            bad.add(row, str(error), getattr(error, "column", None), cause=error)
            continue
        rows |= {entry.id: row for entry in entries}
        conversations += entries
    bad.require_some(len(conversations))
    return ReadList(conversations, sorted(bad.skipped, key=lambda one: one.row))


def as_conversations(given: Any) -> list[Conversation]:
    """Return conversations from what a user may write down: a text, a dict, a list of messages, or several of them.

    Args:
        given: A text is what the user asks; a dict is a record of any shape that `read_conversations` reads; a list of
            dicts with role and content is one conversation, whose last assistant message is its answer. A list of
            conversations is returned as it is.

    Raises:
        ConversationError: It is nothing of that; the message says which entry and what of it. A text that is the
            name of a file is refused, because the file may have been meant.

    Example:
        >>> [one] = as_conversations([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}])
        >>> one.messages[0].content, one.answer
        ('Hi', 'Hello.')
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        if all(isinstance(entry, Conversation) for entry in given):
            return list(given)
        if not _is_messages(given):
            return [one for row, entry in enumerate(given, start=1) for one in _one(entry, row)]
    return _one(given, 1)


def _one(given: Any, row: int) -> list[Conversation]:
    if isinstance(given, Conversation):
        return [given]
    if isinstance(given, str):
        if len(given) < 1000 and "\n" not in given and Path(given).is_file():
            raise ConversationError(f"{given!r} is a file: read it with read_conversations")
        given = {"query": given}
    elif _is_messages(given):
        given = {"messages": given}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise ConversationError(f"entry {row} is a {kind}: give a text, a dict, a list of messages or a Conversation")
    shape = shape_of(given)
    if shape is None:
        raise ConversationError(f"entry {row} has the fields {', '.join(map(str, given)) or 'none'}: {_EXPECTED}")
    try:
        return conversations_of(given, shape, dataset="given", row=row)
    except FieldError as error:
        raise ConversationError(located("conversations", str(error), row=row, column=error.column)) from error


def _is_messages(given: Any) -> bool:
    """Whether it is a list of dicts with role and content."""
    return (
        isinstance(given, Sequence)
        and not isinstance(given, str)
        and bool(given)
        and all(isinstance(entry, Mapping) and ("role" in entry or "from" in entry) for entry in given)
    )


def _shape(records: Records, format: Format) -> Shape:
    """Return the shape of records, by the given format or by the fields of the first one that has a shape."""
    found = next((shape for shape in map(shape_of, records.entries) if shape is not None), None)
    fields = list(records.entries[0])
    container: Container = records.container
    if format == "auto":
        if found is None:
            names = ", ".join(map(str, fields[:8])) or "none"
            raise ConversationError(located(records.name, f"unknown shape with the fields {names}: {_EXPECTED}"))
        return found
    if format in {"jsonl", "parquet", "csv"} and format != container:
        message = f"was to be read as {format} but is {container}: use format auto"
        raise ConversationError(located(records.name, message))
    shape: Shape = next((one for one in _NEEDED if one == format), "own")
    if not _NEEDED[shape] & set(map(canonical_name, records.columns)):
        hint = f"it looks like {found}: use format auto" if found else _EXPECTED
        message = f"was to be read as {format} but has none of its fields; {hint}"
        raise ConversationError(located(records.name, message))
    return shape
