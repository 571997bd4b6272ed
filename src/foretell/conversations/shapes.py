"""Conversion of records of each shape (our own, Alpaca, ShareGPT, FLAN) to `Conversation`.

A record is a mapping from field to value, from any file format; its fields may have other known names. An invalid
record raises `FieldError`, which names the column; the reader adds file and row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from foretell.conversations.conversation import Conversation, Message, Role, Span, messages_from_entries
from foretell.conversations.field_names import FieldError, Fields, canonical_name, placeholder
from foretell.errors import ConversationError
from foretell.records.cells import label_of, name_of
from foretell.records.missing import is_missing

__all__ = ["SHAPES", "Shape", "conversations_of", "shape_of"]

Shape = Literal["own", "alpaca", "sharegpt", "flan"]
Parts = tuple[tuple[Message, ...], str | None]

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
FLAN_INSTRUCTION = "Answer the question."
FLAN_INSTRUCTION_WITH_RATIONALE = "Answer the question after thinking step by step."


def shape_of(record: Mapping[str, Any]) -> Shape | None:
    """Return which shape a record has by the names of its fields, or None if no shape fits.

    Example:
        >>> shape_of({"instruction": "Add.", "input": "1 + 1", "output": "2"})
        'alpaca'
    """
    names = set(map(canonical_name, record))
    if "conversations" in names:
        return "sharegpt"
    if "messages" in names or "query" in names:
        return "own"
    if "question" in names:
        return "flan"
    if "instruction" in names:
        return "alpaca"
    return "own" if names & {"prompt", "input"} else None


def own(record: Fields) -> Parts:
    """Return messages and answer of our own shape: `messages`, or any of `system`, `prompt`, `query`."""
    answer = _text(record, "answer")
    if record.get("messages") is None:
        column = "prompt" if "prompt" in record else "instruction"
        query = "query" if "query" in record else "input"
        return _turns(record, prompt=_text(record, column), query=_text(record, query), column=query), answer
    entries = _decoded(record["messages"], "messages")
    if isinstance(entries, Sequence) and any(isinstance(turn, Mapping) and "from" in turn for turn in entries):
        messages = _turns_by_speaker(entries, "messages")
    else:
        messages = _messages(entries)
    for column in ("prompt", "query"):
        if record.get(column) is not None and all(record[column] != message.content for message in messages):
            raise FieldError(column, "stands beside messages: give either messages or system, prompt and query")
    return _answered(_with_system(record, messages), "messages", answer)


def alpaca(record: Fields) -> Parts:
    """Return messages and answer of an Alpaca record: the instruction is the prompt and the input the query.

    A `context` without an input is the query too, as in Dolly; beside one it belongs to the prompt.
    """
    instruction = _text(record, "instruction")
    if instruction is None or not instruction.strip():
        raise FieldError("instruction", "is missing or empty: an Alpaca record has instruction, input and output")
    messages = _turns(record, prompt=instruction, query=_text(record, "input"), column="instruction")
    return messages, _text(record, "answer") or None


def sharegpt(record: Fields) -> Parts:
    """Return messages and answer of a ShareGPT record: turns with `from` and `value`; a last gpt turn is the answer."""
    turns = _decoded(record["conversations"], "conversations")
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise FieldError("conversations", 'is no list of turns {"from": ..., "value": ...}')
    messages = _with_system(record, _turns_by_speaker(turns, "conversations"))
    return _answered(messages, "conversations", _text(record, "answer"))


def flan(record: Fields) -> Parts:
    """Return messages and answer of a FLAN record: question, answer, rationale, and an instruction if it has one.

    The instruction is the prompt and the question the query. A table without instructions gets a fixed one, which
    asks for steps where a rationale is given; the given answer is then the rationale followed by the answer. A
    `context` belongs to the prompt.
    """
    question = _text(record, "question")
    if question is None or not question.strip():
        raise FieldError("question", "is missing or empty: a FLAN record has question, answer and rationale")
    rationale, answer = _text(record, "rationale"), _text(record, "answer")
    default = FLAN_INSTRUCTION_WITH_RATIONALE if rationale else FLAN_INSTRUCTION
    instruction = _text(record, "instruction") or _text(record, "prompt") or default
    messages = _turns(record, prompt=instruction, query=question, column="question")
    if answer and rationale:
        return messages, f"{rationale.strip()} The answer is {answer.strip()}."
    return messages, answer or None


SHAPES: dict[Shape, Callable[[Fields], Parts]] = {
    "own": own,
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    "flan": flan,
}
"""How to read a record of each shape."""


def conversations_of(
    record: Mapping[str, Any], shape: Shape, *, dataset: str, row: int, ignore: Collection[str] = ()
) -> list[Conversation]:
    """Return a record as conversations: one, or one for each of its `instances`.

    Args:
        record: Fields and values.
        shape: How to read them.
        dataset: Set of a record that names none.
        row: Its number, which gives an id to a record without one.
        ignore: Fields that may hold text and are left out.

    Raises:
        ConversationError: A field is missing, of a wrong type, holds a wrong value, or holds text that is not read.
    """
    fields = Fields(record)
    instances = fields.get("instances")
    if _is_absent(instances):
        return [_conversation(fields, shape, dataset=dataset, row=row, ignore=ignore)]
    instances = _decoded(instances, "instances")
    if not isinstance(instances, Sequence) or not all(isinstance(one, Mapping) for one in instances):
        raise FieldError("instances", 'is no list of objects such as {"input": ..., "output": ...}')
    shared = {name: value for name, value in record.items() if name != fields.own_name("instances")}
    found = []
    for number, instance in enumerate(instances, start=1):
        one = _conversation(Fields({**shared, **instance}), shape, dataset=dataset, row=row, ignore=ignore)
        found.append(one if len(instances) == 1 else replace(one, id=f"{one.id}-{number}", group=one.group or one.id))
    return found


def _conversation(fields: Fields, shape: Shape, *, dataset: str, row: int, ignore: Collection[str]) -> Conversation:
    messages, answer = SHAPES[shape](fields)
    name = _name(fields, "dataset") or dataset
    try:
        label = label_of(fields.get("behavior_label"))
    except ValueError as error:
        raise FieldError("behavior_label", str(error)) from error
    source = _name(fields, "label_source") or "file"
    read = Conversation(
        id=_name(fields, "id") or f"{name}-{row}",
        dataset=name,
        messages=messages,
        answer=answer,
        group=_name(fields, "group"),
        stratum=_name(fields, "stratum"),
        verifier=_verifier(fields),
        behavior_label=label,
        label_source=None if label is None else source,
        label_reason=_name(fields, "label_reason"),
        answer_token_ids=_token_ids(fields),
        behaviour=_name(fields, "behaviour"),
        writer=_name(fields, "writer"),
    )
    fields.require_read(ignore)
    return read


def _is_absent(value: Any) -> bool:
    return value is None or (not isinstance(value, Sequence | Mapping) and is_missing(value)) or not len(value)


def _turns(record: Fields, *, prompt: str | None, query: str | None, column: str) -> tuple[Message, ...]:
    """Return an optional system turn, earlier turns, and a user turn, whose prompt and query parts are spans."""
    context = _side_text(record, "context")
    prompt, query = (None if text is None or not text.strip() else text for text in (prompt, query))
    if query is not None and column in {"instruction", "input"} and placeholder(query):
        query = None
    if context and query is None:
        query = context
    elif context:
        prompt = f"{prompt}\n\n{context}" if prompt else context
    earlier = _history(record)
    if prompt is None and query is None:
        raise FieldError(column, "is missing or empty: there is nothing to ask the model")
    if prompt is None or query is None:
        return _with_system(record, (*earlier, Message("user", prompt or query or "")))
    content = f"{prompt}\n\n{query}"
    start = len(content) - len(query)
    spans = (Span(0, len(prompt), "prompt"), Span(start, len(content), "query"))
    return _with_system(record, (*earlier, Message("user", content, spans)))


def _with_system(record: Fields, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    system = _side_text(record, "system")
    if not system:
        return messages
    if messages and messages[0].role == "system":
        if messages[0].content == system:
            return messages
        raise FieldError("system", "stands beside a system turn with another text: keep one of them")
    return (Message("system", system), *messages)


def _history(record: Fields) -> tuple[Message, ...]:
    """Return earlier turns: pairs of what the user and the model said, or messages."""
    turns = record.get("history")
    if _is_absent(turns) or (isinstance(turns, str) and placeholder(turns)):
        return ()
    turns = _decoded(turns, "history")
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise FieldError("history", "is no list of [user, assistant] pairs or of messages")
    if all(isinstance(turn, Mapping) for turn in turns):
        speaks = any("from" in turn for turn in turns)
        return _turns_by_speaker(turns, "history") if speaks else _messages(turns, "history")
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        pair = isinstance(turn, Sequence) and not isinstance(turn, str) and len(turn) == len(("user", "assistant"))
        if not pair or not all(isinstance(text, str) for text in turn):
            raise FieldError("history", f"turn {number} is no pair of two texts [user, assistant]")
        user, assistant = (_sound(text, "history") for text in turn)
        messages += [Message("user", user), Message("assistant", assistant)]
    return tuple(messages)


def _turns_by_speaker(turns: Sequence[Any], column: str) -> tuple[Message, ...]:
    messages = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping):
            raise FieldError(column, f"turn {number} is no object with from and value")
        speaker, value = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        role = _SHAREGPT_ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
        if role is None:
            known = ", ".join(_SHAREGPT_ROLES)
            raise FieldError(column, f"turn {number} is from {str(speaker)[:40]!r}: known are {known}")
        if not isinstance(value, str):
            raise FieldError(column, f"turn {number} has a value that is no text")
        messages.append(Message(role, _sound(value, column)))
    return tuple(messages)


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


def _messages(value: object, column: str = "messages") -> tuple[Message, ...]:
    try:
        messages = messages_from_entries(value)
    except ConversationError as error:
        raise FieldError(column, str(error)) from error
    for message in messages:
        _sound(message.content, column)
    return messages


def _decoded(value: Any, column: str) -> Any:
    """Return a value, read as JSON where it is text (a table cell)."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise FieldError(column, f"is no JSON: {str(error)[:80]}") from error


def _text(record: Fields, column: str) -> str | None:
    value = record.get(column)
    if not isinstance(value, str):
        if value is None or is_missing(value):
            return None
        raise FieldError(record.own_name(column), f"is a {type(value).__name__}, not a text: {str(value)[:40]!r}")
    return _sound(value, record.own_name(column))


def _side_text(record: Fields, column: str) -> str | None:
    """Return a text beside the question, None where it is a placeholder for none."""
    text = _text(record, column)
    return None if text is None or placeholder(text) else text


def _sound(text: str, column: str) -> str:
    """Return a text, refusing halves of surrogate pairs, which no file and no tokenizer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FieldError(
            column, f"holds half a character at position {error.start + 1}: it was cut or damaged"
        ) from error
    return text


def _name(record: Fields, column: str) -> str | None:
    """Return a short text that names something; whole numbers are taken as text."""
    name = name_of(record.get(column))
    if name is None or isinstance(name, str):
        return None if name is None else _sound(name, column)
    raise FieldError(column, f"is a {type(name).__name__}, not a text or a whole number: {str(name)[:40]!r}")


def _token_ids(record: Fields) -> tuple[int, ...] | None:
    value = record.get("answer_token_ids")
    if _is_absent(value):
        return None
    ids = _decoded(value, "answer_token_ids")
    if not isinstance(ids, Sequence) or isinstance(ids, str):
        raise FieldError("answer_token_ids", "is no list of token ids such as [12, 7]")
    if not all(isinstance(token_id, int) and not isinstance(token_id, bool) and token_id >= 0 for token_id in ids):
        raise FieldError("answer_token_ids", "holds something else than whole numbers from 0")
    return tuple(ids)


def _verifier(record: Fields) -> Mapping[str, Any] | None:
    value = record.get("verifier")
    if _is_absent(value):
        return None
    specification = _decoded(value, "verifier")
    if not isinstance(specification, Mapping) or not isinstance(specification.get("name"), str):
        raise FieldError("verifier", 'is no object such as {"name": "max_words", "count": 12}')
    # A Parquet struct holds every argument any row has; those a row has not are null.
    return {key: argument for key, argument in specification.items() if argument is not None}
