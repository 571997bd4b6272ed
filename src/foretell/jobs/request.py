"""What is asked of a run, checked before any model is loaded.

check_before_loading(conversations, answers="given", to="run")
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foretell.conversations.conversation import Conversation, require_answers
from foretell.errors import InputError
from foretell.jobs.readable_direction import ReadableDirection
from foretell.storage.runs import is_run, open_run, refuse_other_job
from foretell.storage.targets import MANIFEST, check_folder
from foretell.storage.writer_lock import refuse_second_writer

__all__ = ["asked", "check_before_loading"]


def check_before_loading(
    conversations: Sequence[Conversation],
    *,
    answers: str,
    directions: Sequence[ReadableDirection] = (),
    to: Path | str | None,
    overwrite: bool = False,
) -> None:
    """Refuse what needs no model to be refused; `foretell.read` begins with it.

    Raises:
        InputError: See `foretell.read`.
        FolderTakenError: The folder holds a run of other conversations, or another process is writing into it.
    """
    if to is not None:
        check_folder(to, overwrite=overwrite, resumes=MANIFEST)
        refuse_second_writer(to)
    if not conversations:
        raise InputError("there are no conversations to read")
    if answers not in {"given", "generate"}:
        raise InputError(f'answers must be "given" or "generate", not {answers!r}')
    if answers == "given":
        require_answers(conversations)
    most, count = Counter(conversation.id for conversation in conversations).most_common(1)[0]
    if count > 1:
        raise InputError(f"id {most!r} stands for more than one conversation; ids must be unique")
    _check_concepts(directions)
    if to is not None and not overwrite and is_run(to):
        job = asked(conversations, answers)
        refuse_other_job(open_run(to), job, job.keys())


def _check_concepts(directions: Sequence[ReadableDirection]) -> None:
    """Refuse two directions of one name: the table of activity knows a direction by its concept."""
    concepts = Counter(direction.concept for direction in directions)
    for concept, count in concepts.items():
        if count > 1:
            raise InputError(
                f'{count} directions have the concept "{concept}": give each a name of its own '
                '(dataclasses.replace(direction, concept="..."))'
            )


def asked(conversations: Sequence[Conversation], answers: str) -> dict[str, Any]:
    """Return the part of a job that is known without its model."""
    text = json.dumps(
        [
            [c.id, c.dataset, c.group, c.stratum, c.messages_json()]
            + ([c.answer, c.answer_token_ids] if answers == "given" else [])
            for c in sorted(conversations, key=lambda one: one.id)
        ]
    )
    return {
        "n_conversations": len(conversations),
        "conversations": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "answers": answers,
    }
