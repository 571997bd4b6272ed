"""Reading a whole set of conversations into a run: planned in batches, written part by part, resumed where it stopped.

run = read(model, conversations, answers="generate", to="run")
run.attention
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from tqdm import tqdm

from foretell.conversations.conversation import Conversation, require_answers
from foretell.conversations.formats import as_conversations
from foretell.errors import InputError, SpanError
from foretell.reading.chat.chat_template import template_fingerprint, tokenizer_fingerprint
from foretell.reading.chat.spans import Rendered, render
from foretell.reading.chat.tokens import token_texts
from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.fingerprints import weights_fingerprint
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import Sampling, force, generate
from foretell.reading.runs.finite import not_finite
from foretell.reading.signals.activity import ReadableDirection
from foretell.schema.tables import SEGMENTS
from foretell.storage.answered import Answered, Reading, Unread
from foretell.storage.location.disk_space import require_space, run_bytes
from foretell.storage.runs import Run, is_run, open_run, refuse_other_job
from foretell.storage.sample_rows import tables
from foretell.storage.state_choice import StateChoice
from foretell.storage.state_shards import write_states
from foretell.storage.targets import MANIFEST, check_folder
from foretell.storage.writer_lock import refuse_second_writer, writing_alone

__all__ = ["Answers", "check_before_loading", "read"]

Answers = Literal["given", "generate"]

_GENERATED = SEGMENTS.index("generated")
_NO_ANSWER = "no answer was given; give one, or let the model generate it"
_NO_TOKENS = "the answer has no tokens"
_UNREAD_PART = "unread"


@runtime_checkable
class FittedDirection(ReadableDirection, Protocol):
    """A direction that knows which model it was fitted on."""

    def check_fits(self, model: Model) -> None:
        """Refuse another model, or warn of another chat template."""


@dataclass(frozen=True)
class _Task:
    """What is done to every conversation of a run."""

    model: Model
    name: str
    """Name of the model in the tables: the one that the run began with."""
    answers: Answers
    directions: tuple[FittedDirection, ...]
    sampling: Sampling
    batch_tokens: int
    detail: bool
    rows: bool
    states: StateChoice | None

    @property
    def given(self) -> bool:
        """Whether answers are given."""
        return self.answers == "given"

    def least_bytes(self, items: Sequence[Rendered]) -> int:
        """Return the space on a disk that reading these takes at least."""
        generated = [max(1, int((item.segments == _GENERATED).sum())) for item in items]
        states = 0
        if self.states is not None:
            states = self.states.n_bytes(generated, self.model.width)
        return states + run_bytes(
            [len(item.token_ids) for item in items],
            generated,
            n_layers=self.model.n_layers,
            n_heads=self.model.n_heads,
            detail=self.detail,
            rows=self.rows,
            n_directions=len(self.directions),
        )

    def job(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        """Return what fixes the numbers of a run, as plain JSON."""
        return {
            "model": self.name,
            "weights": weights_fingerprint(self.model.model),
            "template": template_fingerprint(self.model.tokenizer),
            "tokenizer": tokenizer_fingerprint(self.model.tokenizer),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            **_asked(conversations, self.answers),
            "sampling": None if self.given else asdict(self.sampling),
            "batch_tokens": self.batch_tokens,
            "detail": self.detail,
            # A run without them is the same job as one made before they could be asked for.
            **({"rows": True} if self.rows else {}),
            **({"hidden": asdict(self.states)} if self.states else {}),
            "directions": [
                {"concept": d.concept, "vectors": hashlib.sha256(d.vectors.tobytes()).hexdigest()}
                for d in self.directions
            ],
        }


def _asked(conversations: Sequence[Conversation], answers: str) -> dict[str, Any]:
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


def read(  # noqa: PLR0913 - one keyword more than elsewhere, each a choice of its own
    model: Model,
    conversations: Any,
    *,
    answers: Answers = "given",
    directions: Sequence[FittedDirection] = (),
    to: Path | str | None = None,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch_tokens: int = 4096,
    seed: int = 0,
    detail: bool = False,
    rows: bool = False,
    hidden: Any = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Run:
    """Read attention mass, activity and log-probabilities of every conversation's answer, all from one pass.

    Batches are planned over the whole set, so a run that was stopped goes on to exactly the numbers it would have had.

    Args:
        model: A loaded model.
        conversations: Samples with unique ids: `Conversation`s, or anything that `as_conversations` takes (a text, a
            record, a list of messages, or several of them).
        answers: `given` reads each conversation's own answer, `generate` lets the model write one. A given answer is
            read by its `answer_token_ids` where it has them, so `read(model, run.conversations())` gives the numbers of
            the run again; without them its text is turned into tokens, which need not be those that were generated.
        directions: Concepts whose activity is read at every layer and generated token, each of another name.
        to: Folder of the run, or a URL of a file system that fsspec knows (`s3://bucket/run`); None keeps it in a
            temporary folder that lives as long as the returned object.
        max_new_tokens: Longest generated answer.
        temperature: 0 takes the likeliest token; above 0 samples with `seed`.
        top_p: Sample only from the likeliest tokens that hold this much probability.
        batch_tokens: Padded tokens in one batch, answers included; a single longer sample is a batch of its own.
        seed: Fixes sampling.
        detail: Also read what each segment writes through each head, and the entropies of heads and tokens.
        rows: Also keep the mass of every row in half precision (`run.rows`): layers x heads x generated tokens x 5
            numbers of two bytes, for an answer of 64 tokens 170 KiB with 30 layers of 9 heads and 640 KiB with 32
            of 32, before compression.
        hidden: Hidden states to keep (`run.hidden`): "all", layers such as `[8, 16]` or `range(0, 30, 5)`, or a mapping
            with `layers` (these, or a slice), `pools` ("last prompt token", "mean over answer", "last answer token";
            all) and `dtype` ("float16"; "float32"). The pools of the answer are kept after 1, 2, 4, 8, ... tokens and
            after all. They take samples x layers x pools x checkpoints x width x 2 bytes, which is printed where a bar
            is shown. A part with a number beyond float16 (65,504) keeps that layer and pool in float32.
        overwrite: Start anew where the folder holds a run, and allow one that holds other files, which stay.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The finished run. Samples that could not be read (no answer, no tokens, a template that cannot be split into
        segments, numbers that are not finite in the model's precision) are in `run.samples` with a reason and have no
        attention rows.

    Raises:
        InputError: No conversations, none that can be read, an id twice, `answer_token_ids` that are not those of the
            answer with this model, a setting out of range, a direction of another model, two of one concept, a layer
            that the model does not have, or a folder that holds something other than a run or cannot be written.
        FolderTakenError: The folder holds another job, or another process is writing into it.
        NotReadableError: The model's attention cannot be read exactly.

    Example:
        >>> import foretell
        >>> model = foretell.load_model("smollm2")  # doctest: +SKIP
        >>> foretell.read(model, foretell.builtin_conversations("alpaca"), answers="generate")  # doctest: +SKIP
    """
    conversations = as_conversations(conversations)
    check_before_loading(conversations, answers=answers, directions=directions, to=to, overwrite=overwrite)
    if batch_tokens < 1:
        raise InputError(f"batch_tokens must be at least 1, not {batch_tokens}")
    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    for direction in directions:
        direction.check_fits(model)
    states = None if hidden is None else StateChoice.of(hidden, len(decoder_blocks(model.model)))
    # In one order, so that the same directions are the same job to the last digit.
    ordered = tuple(sorted(directions, key=lambda one: one.concept))
    task = _Task(model, model.name, answers, ordered, sampling, batch_tokens, bool(detail), bool(rows), states)
    rendered, unread = _rendered(model, conversations, answers)
    if not rendered:
        raise InputError(f"none of the {len(unread)} conversations can be read: {_commonest(unread)}")
    with writing_alone(to):
        run = Run.create(to, task.job(conversations), overwrite=overwrite)
        if not run.finished:
            _read_missing(run, replace(task, name=str(run.job["model"])), rendered, unread, progress=progress)
        return run


def _read_missing(
    run: Run,
    task: _Task,
    rendered: Sequence[tuple[Conversation, Rendered]],
    unread: Sequence[Unread],
    *,
    progress: bool | None,
) -> None:
    """Read every batch that the run does not have yet, and mark the run as complete."""
    extra = 0 if task.given else task.sampling.max_new_tokens
    plan = _plan([item for _, item in rendered], extra, task.batch_tokens, shared=task.given)
    done = run.part_names
    missing = [index for number, batch in enumerate(plan) if f"part-{number:05d}" not in done for index in batch]
    if run.remote is None:
        require_space(run.path, task.least_bytes([rendered[index][1] for index in missing]))
    if unread and _UNREAD_PART not in done:
        ordered = sorted(unread, key=lambda item: item.conversation.id)
        run.append(_UNREAD_PART, tables([], ordered, model=task.name, concepts=(), given=task.given))
    bar = tqdm(total=len(rendered), desc="reading", unit="sample", disable=None if progress is None else not progress)
    with bar:
        if task.states is not None and not bar.disable:
            lengths = [int((item.segments == _GENERATED).sum()) + extra for _, item in rendered]
            bar.write(task.states.size(lengths, task.model.width, given=task.given), file=sys.stderr)
        for number, batch in enumerate(plan):
            name = f"part-{number:05d}"
            if name not in done:
                chosen = [rendered[index] for index in batch]
                sampling = replace(task.sampling, seed=task.sampling.seed + number)
                _read_part(run, name, replace(task, sampling=sampling), chosen)
            bar.update(len(batch))
    run.finish()


def check_before_loading(
    conversations: Sequence[Conversation],
    *,
    answers: str,
    directions: Sequence[FittedDirection] = (),
    to: Path | str | None,
    overwrite: bool = False,
) -> None:
    """Refuse what needs no model to be refused; `read` begins with it.

    Raises:
        InputError: See `read`.
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
        job = _asked(conversations, answers)
        refuse_other_job(open_run(to), job, job.keys())


def _check_concepts(directions: Sequence[FittedDirection]) -> None:
    """Refuse two directions of one name: the table of activity knows a direction by its concept."""
    concepts = Counter(direction.concept for direction in directions)
    for concept, count in concepts.items():
        if count > 1:
            raise InputError(
                f'{count} directions have the concept "{concept}": give each a name of its own '
                '(dataclasses.replace(direction, concept="..."))'
            )


def _rendered(
    model: Model, conversations: Sequence[Conversation], answers: str
) -> tuple[list[tuple[Conversation, Rendered]], list[Unread]]:
    """Return what can be read, longest first, and what cannot, each with its reason."""
    readable, unread = [], []
    for conversation in conversations:
        given = answers == "given"
        answer, token_ids = (conversation.answer, conversation.answer_token_ids) if given else (None, None)
        if given and answer is None and token_ids is None:
            unread.append(Unread(conversation, None, _NO_ANSWER))
            continue
        try:
            item = render(model, conversation, answer=answer, answer_token_ids=token_ids)
        except SpanError as error:
            unread.append(Unread(conversation, answer, str(error)))
            continue
        if given and not (item.segments == _GENERATED).any():
            unread.append(Unread(conversation, answer, _NO_TOKENS))
            continue
        readable.append((conversation, item))
    readable.sort(key=lambda entry: (-len(entry[1].token_ids), entry[0].id))
    return readable, unread


def _commonest(unread: Sequence[Unread]) -> str:
    reason, count = Counter(item.reason for item in unread).most_common(1)[0]
    first = next(item.conversation.id for item in unread if item.reason == reason)
    return f"{reason} ({count} of them, such as {first!r})"


def _plan(rendered: Sequence[Rendered], extra: int, batch_tokens: int, *, shared: bool) -> list[list[int]]:
    """Return batches of similar length; answers to one prompt come together, so that it is fed once.

    Args:
        rendered: What is read, longest first.
        extra: Tokens that each text may still grow by.
        batch_tokens: Padded tokens in one batch.
        shared: Whether prompts can be shared.
    """
    prompts: dict[bytes, list[int]] = {}
    for index, item in enumerate(rendered):
        prompt = item.token_ids[: item.n_prompt_tokens].tobytes() if shared else str(index).encode()
        prompts.setdefault(prompt, []).append(index)
    groups = [group for group in prompts.values() if len(group) > 1]
    alone = [group[0] for group in prompts.values() if len(group) == 1]
    plan = []
    for group in [*groups, alone]:
        lengths = [len(rendered[index].token_ids) + extra for index in group]
        plan += [[group[place] for place in batch] for batch in _batches(lengths, batch_tokens)]
    return plan


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[range]:
    """Return consecutive ranges whose padded size stays within the budget; lengths come longest first."""
    batches, start = [], 0
    while start < len(lengths):
        stop = min(len(lengths), start + max(1, batch_tokens // max(1, lengths[start])))
        batches.append(range(start, stop))
        start = stop
    return batches


def _read_part(run: Run, name: str, task: _Task, chosen: Sequence[tuple[Conversation, Rendered]]) -> None:
    """Read one batch into one part of the run."""
    batch = [item for _, item in chosen]
    wanted: dict[str, Any] = {name: getattr(task, name) for name in ("directions", "detail", "rows", "states")}
    if task.given:
        answered = force(task.model, batch, **wanted)
    else:
        answered = generate(task.model, batch, sampling=task.sampling, **wanted)
    readings, empty = [], []
    for (conversation, _), one in zip(chosen, answered, strict=True):
        if len(one.answer_ids):
            readings.append(_reading(task, conversation, one))
        else:
            empty.append(Unread(replace(conversation, answer_token_ids=()), "", _NO_TOKENS))
    concepts = [direction.concept for direction in task.directions]
    found = tables(readings, empty, model=task.name, concepts=concepts, given=task.given)
    if task.states is not None:
        states = {one.conversation.id: one.signals.hidden for one in readings if one.reason is None}
        found["hidden"] = write_states(run.path / "hidden", name, task.states.layers, states, task.states.dtype)
    run.append(name, found)


def _reading(task: _Task, conversation: Conversation, one: Answered) -> Reading:
    tokenizer = task.model.tokenizer
    answer = conversation.answer if task.given else None
    if answer is None:
        answer = str(tokenizer.decode(one.answer_ids.tolist(), skip_special_tokens=True))
    texts = tuple(token_texts(tokenizer, one.token_ids))
    reason = not_finite(one, task.directions, task.model.dtype)
    return Reading(conversation=conversation, answer=answer, token_texts=texts, signals=one, reason=reason)
