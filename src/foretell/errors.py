"""The exception tree: every message says what is wrong, where, and what to do.

```
ForetellError
├── InputError            the file, table, setting or call is wrong        (exit code 2)
│   ├── TableError        a table lacks a column, is empty, or has a wrong value
│   ├── ConversationError a conversation file is invalid
│   ├── SpanError         a template's text cannot be split into segments
│   ├── ModelError        a name or folder does not lead to a loadable model
│   └── MissingExtraError an optional part of foretell is not installed
├── NotReadableError      this model cannot be read exactly                (exit code 1)
├── RunError              a run is damaged, or results cannot be written   (exit code 1)
│   └── FolderTakenError  it holds another job, or somebody is writing into it; an InputError as well (exit code 2)
└── UnfinishedError       work ended before all of it was done             (exit code 1)
SharedTextWarning         pairs of two topics have a text in common, so the topics are held out together (a warning)
TemplateWarning           a direction is used with another chat template than it was fitted with (a warning)
```
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ConversationError",
    "FolderTakenError",
    "ForetellError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "NotReadableError",
    "RunError",
    "SharedTextWarning",
    "SpanError",
    "TableError",
    "TemplateWarning",
    "UnfinishedError",
    "located",
    "missing_extra",
]

_OF_MODELS = {"accelerate", "gguf", "huggingface_hub", "safetensors", "tokenizers", "torch", "transformers"}
"""Packages that only the extra `models` brings."""


class ForetellError(Exception):
    """Anything foretell refuses to do, with a message meant for its user."""

    exit_code = 1


class InputError(ForetellError):
    """The input or the call is wrong; nothing was written."""

    exit_code = 2


class TableError(InputError):
    """A table lacks a column, is empty, or has a wrong value."""


class ConversationError(InputError):
    """A file of conversations is invalid."""


class SpanError(InputError):
    """A rendered conversation cannot be split into segments exactly."""


class ModelError(InputError):
    """A name, folder or hub id does not lead to a model that can be loaded."""


class MissingExtraError(InputError):
    """An optional part of foretell is needed and not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs an optional part: pip install 'foretell[{extra}]'")


def missing_extra(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """Return what to say of an import that failed because an optional part is not installed; None if it is no such.

    Args:
        error: What was raised while a module was looked for.
        purpose: What the module was needed for, such as `foretell.read`.
    """
    reason: BaseException | None = error
    while isinstance(reason, ImportError):  # transformers raises its own, without a name, from the first one
        if (reason.name or "").partition(".")[0] in _OF_MODELS:
            return MissingExtraError("models", purpose)
        reason = reason.__cause__
    return None


class NotReadableError(ForetellError):
    """A model's attention or hidden states cannot be read exactly, so they are not read at all."""


class RunError(ForetellError):
    """A run folder is damaged, incomplete, or was made by another job, or the system refuses to write a file."""


class FolderTakenError(RunError, InputError):
    """A folder holds results of another job, or another process is writing into it; nothing was changed."""


class UnfinishedError(ForetellError):
    """Work ended before all of it was done, because samples or workers failed; what was done is kept."""


class SharedTextWarning(UserWarning):
    """Contrast pairs of two topics have a text in common, so the topics are held out together."""


class TemplateWarning(UserWarning):
    """A direction is used with another chat template than the one it was fitted with."""


def located(path: Path | str, message: str, *, row: int | None = None, column: str | None = None) -> str:
    """Return `message` prefixed with its location, such as `prompts.csv, row 3, column "id": ...`.

    Args:
        path: The file.
        message: What is wrong and what to do.
        row: Record number counted from 1, without a header line.
        column: Column or field name.

    Example:
        >>> located("a.csv", "is missing", row=3, column="id")
        'a.csv, row 3, column "id": is missing'
    """
    place = [str(path)]
    if row is not None:
        place.append(f"row {row}")
    if column is not None:
        place.append(f'column "{column}"')
    return f"{', '.join(place)}: {message}"
