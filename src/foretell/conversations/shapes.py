"""Conversion of records of each shape (our own, Alpaca, ShareGPT, FLAN) to `Conversation`.

A record is a mapping from field to value, from any file format. An invalid record raises `FieldError`, which names the
column; the reader adds file and row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from foretell.conversations.conversation import Conversation, Message, Role, Span, messages_from_entries
from foretell.errors import ConversationError

__all__ = ["SHAPES", "FieldError", "Shape", "parse_label", "shape_of"]

Shape = Literal["own", "alpaca", "sharegpt", "flan"]
Record = Mapping[str, Any]

_SHAREGPT_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_LABELS: dict[str, int | None] = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no"), 0),
    **dict.fromkeys(("", "nan", "null", "none", "na", "n/a"), None),
}
FLAN_INSTRUCTION = "Answer the question."
FLAN_INSTRUCTION_WITH_RATIONALE = "Answer the question after thinking step by step."


class FieldError(ConversationError):
    """A record does not fit its shape because of one field."""

    def __init__(self, column: str, problem: str) -> None:
        self.column = column
        super().__init__(problem)


def shape_of(record: Record) -> Shape | None:
    """Return which shape a record has by the names of its fields, or None if no shape fits.

    Example:
        >>> shape_of({"instruction": "Add.", "input": "1 + 1", "output": "2"})
        'alpaca'
    """
    names = set(record)
    if "conversations" in names:
        return "sharegpt"
    if "messages" in names or "query" in names:
        return "own"
    if "question" in names:
        return "flan"
    if "instruction" in names:
        return "alpaca"
    return "own" if "prompt" in names else None


def parse_label(value: object) -> int | None:
    """Return a label from 0 / 1, true / false or yes / no in any case; None from null, NaN or an empty text.

    Raises:
        ValueError: It is anything else.

    Example:
        >>> parse_label("Yes"), parse_label(0.0), parse_label("")
        (1, 0, None)
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, int, float)) and value in {0, 1}:
        return int(value)
    if isinstance(value, str) and value.strip().lower() in _LABELS:
        return _LABELS[value.strip().lower()]
    raise ValueError(f"{str(value)[:40]!r} is no label: use 0 or 1, true or false, yes or no, or leave it empty")


def own(record: Record) -> tuple[tuple[Message, ...], str | None]:
    """Return messages and answer of our own shape: `messages`, or any of `system`, `prompt`, `query`."""
    answer = _text(record, "answer")
    if record.get("messages") is None:
        messages = _turns(_text(record, "system"), _text(record, "prompt"), _text(record, "query"), "query")
        return messages, answer
    for column in ("system", "prompt", "query"):
        if record.get(column) is not None:
            raise FieldError(column, "stands beside messages: give either messages or system, prompt and query")
    return _answered(_messages(record["messages"]), "messages", answer)


def alpaca(record: Record) -> tuple[tuple[Message, ...], str | None]:
    """Return messages and answer of an Alpaca record: the instruction is the prompt and the input the query."""
    instruction = _text(record, "instruction")
    if instruction is None or not instruction.strip():
        raise FieldError("instruction", "is missing or empty: an Alpaca record has instruction, input and output")
    messages = _turns(_text(record, "system"), instruction, _text(record, "input"), "instruction")
    return messages, _text(record, "output") or None


def sharegpt(record: Record) -> tuple[tuple[Message, ...], str | None]:
    """Return messages and answer of a ShareGPT record: turns with `from` and `value`; a last gpt turn is the answer."""
    turns = _decoded(record["conversations"], "conversations")
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise FieldError("conversations", 'is no list of turns {"from": ..., "value": ...}')
    system = _text(record, "system")
    messages = [Message("system", system)] if system else []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping):
            raise FieldError("conversations", f"turn {number} is no object with from and value")
        speaker, value = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        role = _SHAREGPT_ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            known = ", ".join(_SHAREGPT_ROLES)
            raise FieldError("conversations", f"turn {number} is from {str(speaker)[:40]!r}: known are {known}")
        if not isinstance(value, str):
            raise FieldError("conversations", f"turn {number} has a value that is no text")
        messages.append(Message(role, _sound(value, "conversations")))
    return _answered(tuple(messages), "conversations", None)


def flan(record: Record) -> tuple[tuple[Message, ...], str | None]:
    """Return messages and answer of a FLAN record: question, answer, rationale, and an instruction if it has one.

    The instruction is the prompt and the question the query. A table without instructions gets a fixed one, which
    asks for steps where a rationale is given; the given answer is then the rationale followed by the answer.
    """
    question = _text(record, "question")
    if question is None or not question.strip():
        raise FieldError("question", "is missing or empty: a FLAN record has question, answer and rationale")
    rationale, answer = _text(record, "rationale"), _text(record, "answer")
    default = FLAN_INSTRUCTION_WITH_RATIONALE if rationale else FLAN_INSTRUCTION
    instruction = _text(record, "instruction") or default
    messages = _turns(_text(record, "system"), instruction, question, "question")
    if answer and rationale:
        return messages, f"{rationale.strip()} The answer is {answer.strip()}."
    return messages, answer or None


SHAPES: dict[Shape, Callable[[Record], tuple[tuple[Message, ...], str | None]]] = {
    "own": own,
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    "flan": flan,
}
"""How to read a record of each shape."""


def conversation(record: Record, shape: Shape, *, dataset: str, row: int) -> Conversation:
    """Return a record as a conversation; a record without a set or an id of its own gets them of `dataset` and `row`.

    Raises:
        ConversationError: A field is missing, of a wrong type, or holds a wrong value.
    """
    messages, answer = SHAPES[shape](record)
    name = _name(record, "dataset") or dataset
    try:
        label = parse_label(record.get("behavior_label"))
    except ValueError as error:
        raise FieldError("behavior_label", str(error)) from error
    source = _text(record, "label_source") or "file"
    return Conversation(
        id=_name(record, "id") or f"{name}-{row}",
        dataset=name,
        messages=messages,
        answer=answer,
        group=_name(record, "group"),
        stratum=_name(record, "stratum"),
        verifier=_verifier(record),
        behavior_label=label,
        label_source=None if label is None else source,
        label_reason=_text(record, "label_reason") or None,
        answer_token_ids=_token_ids(record),
    )


def _turns(system: str | None, prompt: str | None, query: str | None, column: str) -> tuple[Message, ...]:
    """Return an optional system turn and one user turn, whose prompt and query parts are spans."""
    opening = (Message("system", system),) if system else ()
    parts = [part for part in (prompt, query) if part and part.strip()]
    if not parts:
        raise FieldError(column, "is missing or empty: there is nothing to ask the model")
    if prompt is None or query is None or len(parts) == 1:
        return (*opening, Message("user", parts[0]))
    content = f"{prompt}\n\n{query}"
    start = len(content) - len(query)
    return (*opening, Message("user", content, (Span(0, len(prompt), "prompt"), Span(start, len(content), "query"))))


def _answered(messages: tuple[Message, ...], column: str, answer: str | None) -> tuple[tuple[Message, ...], str | None]:
    """Split off a last assistant turn as the answer, and check that what remains can be answered."""
    if messages and messages[-1].role == "assistant":
        if answer is not None:
            raise FieldError(column, "ends with an assistant turn and there is an answer too: keep one of them")
        messages, answer = messages[:-1], messages[-1].content
    if not messages or messages[-1].role not in {"user", "tool"}:
        raise FieldError(column, "has no user or tool turn before the answer: there is nothing to answer")
    if any(message.role == "system" for message in messages[1:]):
        raise FieldError(column, "has a system turn after the first turn: put it first")
    return messages, answer


def _messages(value: object) -> tuple[Message, ...]:
    try:
        messages = messages_from_entries(_decoded(value, "messages"))
    except FieldError:
        raise
    except ConversationError as error:
        raise FieldError("messages", str(error)) from error
    for message in messages:
        _sound(message.content, "messages")
    return messages


def _decoded(value: Any, column: str) -> Any:
    """Return a value, read as JSON where it is text (a table cell)."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise FieldError(column, f"is no JSON: {str(error)[:80]}") from error


def _text(record: Record, column: str) -> str | None:
    value = record.get(column)
    if value is None:
        return None
    if not isinstance(value, str):
        raise FieldError(column, f"is a {type(value).__name__}, not a text: {str(value)[:40]!r}")
    return _sound(value, column)


def _sound(text: str, column: str) -> str:
    """Return a text, refusing halves of surrogate pairs, which no file and no tokenizer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FieldError(
            column, f"holds half a character at position {error.start + 1}: it was cut or damaged"
        ) from error
    return text


def _name(record: Record, column: str) -> str | None:
    """Return a short text that names something; whole numbers are taken as text."""
    value = record.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(record, column)
    return text.strip() or None if text is not None else None


def _token_ids(record: Record) -> tuple[int, ...] | None:
    value = record.get("answer_token_ids")
    if value is None or value == "":
        return None
    ids = _decoded(value, "answer_token_ids")
    if not isinstance(ids, Sequence) or isinstance(ids, str):
        raise FieldError("answer_token_ids", "is no list of token ids such as [12, 7]")
    if not all(isinstance(token_id, int) and not isinstance(token_id, bool) and token_id >= 0 for token_id in ids):
        raise FieldError("answer_token_ids", "holds something else than whole numbers from 0")
    return tuple(ids)


def _verifier(record: Record) -> Mapping[str, Any] | None:
    value = record.get("verifier")
    if value is None or value == "":
        return None
    specification = _decoded(value, "verifier")
    if not isinstance(specification, Mapping) or not isinstance(specification.get("name"), str):
        raise FieldError("verifier", 'is no object such as {"name": "max_words", "count": 12}')
    # A Parquet struct holds every argument any row has; those a row has not are null.
    return {key: argument for key, argument in specification.items() if argument is not None}
