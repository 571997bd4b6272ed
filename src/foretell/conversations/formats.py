"""Conversations from files in our own format, Alpaca, ShareGPT or FLAN.

conversations = read_conversations("prompts.jsonl")
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from foretell.conversations.conversation import Conversation
from foretell.conversations.files import Container, Record, read_records
from foretell.conversations.shapes import FieldError, Shape, conversation, shape_of
from foretell.errors import ConversationError, located

__all__ = ["Format", "read_conversations"]

Format = Literal["auto", "jsonl", "parquet", "csv", "alpaca", "sharegpt", "flan"]

_EXPECTED = (
    "expected messages, or prompt and query (own shape); instruction, input, output (Alpaca); "
    "conversations (ShareGPT); or question, answer, rationale (FLAN)"
)
_NEEDED: dict[Shape, set[str]] = {
    "own": {"messages", "query", "prompt"},
    "alpaca": {"instruction"},
    "sharegpt": {"conversations"},
    "flan": {"question"},
}
"""Fields of which a record of each shape has one."""
_HEADERS = frozenset(
    ("id", "dataset", "messages", "system", "prompt", "query", "instruction", "question", "conversations")
)


def read_conversations(
    path: Path | str, *, format: Format = "auto", dataset: str | None = None, limit: int | None = None
) -> list[Conversation]:
    """Read the conversations of a file, in its order.

    Args:
        path: JSON list, JSON lines, CSV, TSV or Parquet; its content decides, not its name.
        format: `auto` tells the shape by the fields. `jsonl`, `parquet`, `csv`: our own shape in that container.
            `alpaca`, `sharegpt`, `flan`: that shape in any container.
        dataset: Name of the set for records that name none; without it the shape's name, or the file's for our own.
        limit: At most so many records, from the first on.

    Returns:
        One conversation per record. In every shape the fields id, dataset, group, stratum, verifier, behavior_label,
        label_source, label_reason and answer_token_ids carry through. A record without an id gets its set's name and
        its record number.

    Raises:
        ConversationError: The file is missing, empty, not UTF-8 or of no known shape; a record does not fit; or two
            records have one id. The message names file, row, column and what to do.

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
    container, records = read_records(path, error=ConversationError, headers=_HEADERS, limit=limit)
    shape = _shape(path, format, container, records)
    name = dataset or (Path(path).stem if shape == "own" else shape)
    conversations: list[Conversation] = []
    rows: dict[str, int] = {}
    for row, record in enumerate(records, start=1):
        try:
            entry = conversation(record, shape, dataset=name, row=row)
        except FieldError as error:
            raise ConversationError(located(path, str(error), row=row, column=error.column)) from error
        except ConversationError as error:
            raise ConversationError(located(path, str(error), row=row)) from error
        if entry.id in rows:
            problem = f"{entry.id!r} is the id of row {rows[entry.id]} too: ids must be unique"
            raise ConversationError(located(path, problem, row=row, column="id"))
        rows[entry.id] = row
        conversations.append(entry)
    return conversations


def _shape(path: Path | str, format: Format, container: Container, records: list[Record]) -> Shape:
    """Return the shape of a file's records, by the given format or by the first record's fields."""
    fields = records[0]
    found = shape_of(fields)
    if format == "auto":
        if found is None:
            names = ", ".join(map(str, list(fields)[:8])) or "none"
            raise ConversationError(located(path, f"unknown shape with the fields {names}: {_EXPECTED}"))
        return found
    if format in {"jsonl", "parquet", "csv"} and format != container:
        raise ConversationError(located(path, f"was to be read as {format} but is {container}: use format auto"))
    shape: Shape = next((one for one in _NEEDED if one == format), "own")
    if not _NEEDED[shape] & set(fields):
        hint = f"it looks like {found}: use format auto" if found else _EXPECTED
        raise ConversationError(located(path, f"was to be read as {format} but has none of its fields; {hint}"))
    return shape
