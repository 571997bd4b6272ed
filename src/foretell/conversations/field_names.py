"""Names of fields: which other names a field is known by, which fields are no text of a conversation.

A field that holds text of neither kind is refused by its name, because leaving it out would change what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from foretell.errors import ConversationError
from foretell.records.missing import is_missing

__all__ = ["KNOWN_NAMES", "FieldError", "Fields", "canonical_name", "placeholder"]

_OTHER_NAMES = {
    "answer": (
        "output",
        "response",
        "completion",
        "reply",
        "generation",
        "model_answer",
        "chatgpt_response",
        "targets",
    ),
    "system": ("system_prompt", "system_message", "system_instruction"),
    "query": ("user_query", "user_input", "user_prompt", "inputs"),
    "context": ("passage", "document", "background"),
    "messages": ("dialog", "dialogue", "chat"),
    "conversations": ("conversation",),
    "history": ("past", "previous_turns"),
    "rationale": ("reasoning", "chain_of_thought", "cot"),
    "behaviour": ("behavior",),
}
"""Other names of fields, by the name used here; names are compared without case, and `-` and blanks are `_`."""
_CANONICAL = {other: name for name, others in _OTHER_NAMES.items() for other in others}
_READ = {
    *("id", "dataset", "group", "stratum", "verifier", "behaviour", "behavior_label", "label_source", "label_reason"),
    *("answer_token_ids", "writer", "answer", "system", "prompt", "query", "instruction", "input", "question"),
    *("context", "messages", "conversations", "history", "rationale", "instances"),
}
KNOWN_NAMES = frozenset((*_READ, *_CANONICAL))
"""Names of fields that are read, in small letters."""

_NO_TEXT = frozenset(
    (
        *("annotator", "author", "category", "comment", "comments", "correct_answers", "created"),
        *("date", "difficulty", "domain", "expected", "gold", "gold_answer", "ground_truth"),
        *("idx", "incorrect_answers", "index", "info", "instruction_id_list", "key", "kwargs"),
        *("label", "labels", "lang", "language", "length", "license", "link"),
        *("meta", "metadata", "model", "motivation_app", "name", "note", "notes"),
        *("rating", "reference", "references", "score", "scores", "source", "split"),
        *("subset", "tag", "tags", "target", "task", "time", "timestamp"),
        *("title", "tokens", "topic", "type", "url", "version"),
    )
)
"""Names of fields about a record, which are not read."""
_ABOUT = re.compile(
    r"^(n|num|is|has|no)_|_(ids?|hash|url|date|type|name|count|scores?|label|model|spans?|index|source)$"
)
_CONTENT = re.compile(
    "answer|assistant|background|chat|choice|completion|content|context|conversation|demonstration|dialog|document|"
    "evidence|example|fact|function|history|hypothesis|input|instruct|knowledge|message|option|output|passage|persona|"
    "premise|prompt|query|question|rational|reason|response|retriev|sentence|shot|story|system|text|tool|turn|user"
)
_PROSE_WORDS = 3
_NO_INPUT = re.compile(r"[<\[(]?\s*no[\s_-]*(input|context)\s*[>\])]?\.?", re.IGNORECASE)


class FieldError(ConversationError):
    """A record does not fit its shape because of one field."""

    def __init__(self, column: str, problem: str) -> None:
        self.column = column
        super().__init__(problem)


class Fields(Mapping[str, Any]):
    """The fields of a record by their names here, whatever the record calls them; each use of one is noted.

    Raises:
        FieldError: Two fields have the same meaning and hold different things.

    Example:
        >>> Fields({"Instruction": "Add.", "response": "2"})["answer"]
        '2'
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._read: set[str] = set()
        for own, value in record.items():
            name = canonical_name(own)
            if _is_nothing(self._values.get(name)):
                self._values[name], self._names[name] = value, str(own)
            elif not _is_nothing(value) and value != self._values[name]:
                raise FieldError(str(own), f'holds another {name} than "{self._names[name]}": keep one of them')

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        self._read.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def own_name(self, name: str) -> str:
        """Return what the record calls a field."""
        return self._names.get(name, name)

    def require_read(self, ignore: Collection[str] = ()) -> None:
        """Refuse a field that may hold text of the conversation and was not read.

        Args:
            ignore: Names of fields that may be left out.

        Raises:
            FieldError: The message names the field.
        """
        for name, value in self._values.items():
            own = self._names[name]
            if name in self._read or own in ignore or not _may_be_text(name, value):
                continue
            raise FieldError(own, "holds text that is not read here: rename it to what it is, or name it in `ignore`")


def canonical_name(name: object) -> str:
    """Return the name used here for a field that a record may call otherwise.

    Example:
        >>> canonical_name("System Prompt"), canonical_name("category")
        ('system', 'category')
    """
    plain = re.sub(r"[\s-]+", "_", str(name).strip().casefold())
    return _CANONICAL.get(plain, plain)


def placeholder(text: str) -> bool:
    """Whether a text stands for no input or context at all, such as `<noinput>`, "N/A" or a blank.

    Example:
        >>> [placeholder(text) for text in ("<noinput>", "No input.", "nan", "Is there no input?")]
        [True, True, True, False]
    """
    return is_missing(text) or _NO_INPUT.fullmatch(text.strip()) is not None


def _is_nothing(value: Any) -> bool:
    return (isinstance(value, list | dict) and not value) or is_missing(value)


def _may_be_text(name: str, value: Any) -> bool:
    """Whether a field holds words of a conversation, by its name and by what it holds."""
    if isinstance(value, bool | int | float) or _is_nothing(value):
        return False
    if isinstance(value, str) and placeholder(value):
        return False
    if name in _READ or name in _CANONICAL:
        return True
    if name in _NO_TEXT or _ABOUT.search(name):
        return False
    return bool(_CONTENT.search(name)) or (isinstance(value, str) and len(value.split()) >= _PROSE_WORDS)
