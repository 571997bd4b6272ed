"""Reading a whole set of conversations into a run: planned in batches, written part by part, resumed where it stopped.

run = read(model, conversations, answers="generate", to="run")
run.attention
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from foretell.conversations.conversation import Conversation
from foretell.conversations.formats import as_conversations
from foretell.errors import InputError, SpanError
from foretell.jobs.batches import planned_parts
from foretell.jobs.planned_run import Plan, commonest, forget_failed, read_missing
from foretell.jobs.positions import n_positions, too_long
from foretell.jobs.ray_pool import Workers, connected, on_workers
from foretell.jobs.readable_direction import FittedDirection
from foretell.jobs.reading_settings import Answers, Sampling, Settings, stop_at_first
from foretell.jobs.request import asked, check_before_loading
from foretell.reading.chat.chat_template import template_fingerprint, tokenizer_fingerprint
from foretell.reading.chat.spans import Rendered, render
from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.fingerprints import weights_fingerprint
from foretell.reading.models.load import Model, load_model
from foretell.reading.models.trial import FAILURES
from foretell.reading.runs.parts import NO_TOKENS, part_reader, read_part
from foretell.schema.tables import SEGMENTS
from foretell.storage.answered import Unread
from foretell.storage.runs import Run
from foretell.storage.state_choice import StateChoice
from foretell.storage.writer_lock import writing_alone

__all__ = ["Answers", "check_before_loading", "read"]

_GENERATED = SEGMENTS.index("generated")
_NO_ANSWER = "no answer was given; give one, or let the model generate it"


def _plan(model: Model, settings: Settings, hidden: Any, conversations: Sequence[Conversation]) -> Plan:
    """Return what will be read, in batches over the whole set, and what cannot be."""
    for direction in settings.directions:
        direction.check_fits(model)
    states = None if hidden is None else StateChoice.of(hidden, len(decoder_blocks(model.model)))
    settings = replace(settings, states=states)
    extra = 0 if settings.given else settings.sampling.max_new_tokens
    rendered, unread = _rendered(model, conversations, settings, extra)
    items = [item for _, item in rendered]
    prompts = [item.token_ids[: item.n_prompt_tokens].tobytes() if settings.given else str(id(item)) for item in items]
    lengths = [len(item.token_ids) + extra for item in items]
    answers = [int((item.segments == _GENERATED).sum()) + extra for item in items]
    parts = planned_parts(rendered, prompts, lengths, budget=settings.batch_tokens)
    shape = {"n_layers": model.n_layers, "n_heads": model.n_heads, "width": model.width}
    return Plan(
        _job(model, settings, conversations),
        settings,
        parts,
        tuple(unread),
        tuple(settings.least_bytes([item.segments for _, item in part.items], **shape) for part in parts),
        None if states is None else states.size(answers, model.width, given=settings.given),
    )


def _job(model: Model, settings: Settings, conversations: Sequence[Conversation]) -> dict[str, Any]:
    return {
        "model": model.name,
        "weights": weights_fingerprint(model.model),
        "template": template_fingerprint(model.tokenizer),
        "tokenizer": tokenizer_fingerprint(model.tokenizer),
        "dtype": str(model.dtype).removeprefix("torch."),
        **asked(conversations, settings.answers),
        **settings.job,
    }


def read(  # noqa: PLR0913 - more keywords than elsewhere, each a choice of its own
    model: Model | str | Path | Callable[[], Model],
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
    strict: bool = False,
    retry_failed: bool = False,
    workers: int | Workers | None = None,
    progress: bool | None = None,
) -> Run:
    """Read attention mass, activity and log-probabilities of every conversation's answer, all from one pass.

    Batches are planned over the whole set, so a run that was stopped goes on to exactly the numbers it would have had.
    A sample that cannot be read is a row of `run.samples` with a reason, and the others are read.

    Args:
        model: A loaded model; or its name, or a function that loads it, which spares this process a copy where
            `workers` load their own.
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
        strict: Stop at the first sample that cannot be read.
        retry_failed: Where a run is resumed, read again the batches with samples that could not be read (on a machine
            with more memory, say); otherwise they keep their reason.
        workers: So many processes on this machine read at once, each with its own copy of the model, or `Workers` that
            also have graphics processors or are on other machines; needs `foretell[ray]`. The run is that of one
            process: bit for bit where each has as many threads, else up to rounding.
        progress: Show a bar; None shows it on a terminal and in a notebook.

    Returns:
        The finished run. Samples that could not be read (no answer, no tokens, more tokens than the model has
        positions, a template that cannot be split into segments, out of memory even alone, an error of the model,
        numbers that are not finite in its precision) are in `run.samples` with a reason and have no attention rows.

    Raises:
        InputError: No conversations, none that can be read, an id twice, `answer_token_ids` that are not those of the
            answer with this model, a setting out of range, a direction of another model, two of one concept, a layer
            that the model does not have, or a folder that holds something other than a run or cannot be written.
        FolderTakenError: The folder holds another job, or another process is writing into it.
        NotReadableError: The model's attention cannot be read exactly.
        UnfinishedError: A sample cannot be read and `strict` is set, none could be, or workers are lost for good; what
            was read is kept.

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
    # In one order, so that the same directions are the same job to the last digit.
    ordered = tuple(sorted(directions, key=lambda one: one.concept))
    settings = Settings(answers, ordered, sampling, batch_tokens, bool(detail), bool(rows), None, strict)
    pool = Workers(workers) if isinstance(workers, int) else workers
    if pool is not None and pool.address is not None and to is None:
        raise InputError("workers on other machines need a folder for the run that all of them see: give `to`")
    load = _loader(model, elsewhere=pool is not None)
    with connected(None if isinstance(model, Model) else pool):
        if pool is None or isinstance(model, Model):
            loaded = model if isinstance(model, Model) else load()
            plan = _plan(loaded, settings, hidden, conversations)
        else:
            one = replace(pool, n_workers=1)
            (plan,) = on_workers(one, partial(_planner, load, settings, hidden), [conversations])
        if not plan.parts:
            raise InputError(f"none of the {len(plan.unread)} conversations can be read: {commonest(plan.unread)}")
        if strict:
            stop_at_first((one.conversation.id, one.reason) for one in plan.unread)
        with writing_alone(to):
            run = Run.create(to, plan.job, overwrite=overwrite)
            if retry_failed:
                forget_failed(run, {part.name for part in plan.parts})
            if strict:
                stop_at_first(run.sample_columns(["id", "reason"]).rows())
            read_parts: Any
            if pool is None:
                read_parts = partial(
                    map, partial(read_part, replace(loaded, name=run.job["model"]), plan.settings, run)
                )
            else:
                make = partial(part_reader, load, plan.settings, plan.job["weights"], run.location)
                read_parts = partial(on_workers, pool, make)
            if not run.finished:
                read_missing(run, plan, read_parts, progress=progress)
            return run


def _loader(model: Model | str | Path | Callable[[], Model], *, elsewhere: bool) -> Callable[[], Model]:
    """Return what loads a model, here or in another process."""
    if not isinstance(model, Model):
        return partial(load_model, model) if isinstance(model, str | Path) else model
    if not elsewhere:
        return lambda: model
    if model.loader is None:
        raise InputError(
            f"{model.name}: workers load the model themselves, and this one was not loaded by foretell.load_model; "
            "save it and give the folder, or give a function that loads it"
        )
    return model.loader


def _planner(load: Callable[[], Model], settings: Settings, hidden: Any) -> Callable[[Sequence[Conversation]], Plan]:
    return partial(_plan, load(), settings, hidden)


def _rendered(
    model: Model, conversations: Sequence[Conversation], settings: Settings, extra: int
) -> tuple[list[tuple[Conversation, Rendered]], list[Unread]]:
    """Return what can be read, longest first, and what cannot, each with its reason."""
    readable, unread = [], []
    limit = n_positions(model.model.config.get_text_config(decoder=True))
    for conversation in conversations:
        given = settings.given
        answer, token_ids = (conversation.answer, conversation.answer_token_ids) if given else (None, None)
        reason = _NO_ANSWER
        if not given or answer is not None or token_ids is not None:
            try:
                item = render(model, conversation, answer=answer, answer_token_ids=token_ids)
            except SpanError as error:
                reason = str(error)
            except FAILURES as error:
                reason = f"template error: {type(error).__name__}: {error}"
            else:
                if given and not (item.segments == _GENERATED).any():
                    reason = NO_TOKENS
                elif (long := too_long(len(item.token_ids), extra, limit)) is not None:
                    reason = long
                else:
                    readable.append((conversation, item))
                    continue
        unread.append(Unread(conversation, answer, reason))
    readable.sort(key=lambda entry: (-len(entry[1].token_ids), entry[0].id))
    return readable, unread
