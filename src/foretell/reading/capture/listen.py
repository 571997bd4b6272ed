"""Record what a loaded decoder computes inside a block; its own numbers do not change.

It reads; it does not render text, store tables or know statistics.

    with listen(model, segments) as capture:
        model.model(input_ids=input_ids, attention_mask=attention_mask)
    capture.mass      # (sample, layer, head, segment)
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import InputError
from foretell.jobs.readable_direction import ReadableDirection
from foretell.reading.capture.attention_reader import AttentionReader
from foretell.reading.capture.generation import followed_generation
from foretell.reading.capture.recording import Recording
from foretell.reading.capture.results import Capture
from foretell.reading.capture.self_check import AttentionPath, checked_path, known_path
from foretell.reading.capture.session import Session
from foretell.reading.capture.token_scores import TokenScores
from foretell.reading.hooks.attention_interface import observed_attention
from foretell.reading.hooks.function_mode import observed_primitives
from foretell.reading.hooks.output_projection import head_factors, output_projections
from foretell.reading.hooks.residual_place import residual_place
from foretell.reading.hooks.residual_stream import residual_hooks
from foretell.reading.models.blocks import Blocks, decoder_of, layer_lists, n_heads_of
from foretell.reading.models.load import Model
from foretell.reading.models.trial import unchanged
from foretell.reading.signals.activity import Projection
from foretell.reading.signals.attention_mass import Quantities
from foretell.schema.tables import SEGMENTS
from foretell.storage.state_choice import chosen_layers

__all__ = ["Capture", "ReadableDirection", "listen"]

_LISTENED: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
_LOCK = threading.Lock()


@dataclass(frozen=True)
class _Settings:
    """What is read, and how."""

    directions: Sequence[ReadableDirection] = ()
    hidden: Sequence[int] | Literal["all"] = ()
    logprob: bool = False
    quantities: Quantities = field(default_factory=Quantities)
    rows: bool = True
    chunk_bytes: int = 1 << 20
    layers: Collection[int] | None = None


@contextlib.contextmanager
def listen(
    model: Model | nn.Module,
    segments: np.ndarray | Tensor | Sequence[Sequence[int]],
    *,
    directions: Sequence[ReadableDirection] = (),
    hidden: Sequence[int] | Literal["all"] = (),
    logprob: bool = True,
    contribution: bool = False,
    entropy: bool = False,
    previous_token: bool = False,
    rows: bool = True,
    layers: Collection[int] | None = None,
    chunk_mib: int = 64,
    check: bool = True,
) -> Iterator[Capture]:
    """Read attention masses, activity and log-probabilities of whatever `model` runs inside the block.

    One forward pass over prompt and answer reads the rows of the tokens whose code is 4 (generated). Around
    `model.generate`, give the segments of the left-padded prompts: every token beyond them is generated, and when
    `generate` returns, its last token is fed once more, so that both ways give the same numbers. Tokens after the end
    of a sample's answer do not count (`Capture.keep` decides otherwise). In a loop of one's own, call
    `capture.finish(token_ids)` for that.

    What is read belongs to a column of the padded sequences. A later pass over the same column replaces it (a cache
    that was cut back, drafts that were rejected). Only passes of the caller's own thread or coroutine are read; other
    threads may use the model meanwhile. Logits inside the block are bit-identical to those outside. On leaving, also by
    an exception, the model is as it was before, and the capture holds arrays only.

    Args:
        model: a loaded decoder, evaluated by its `sdpa` or `eager` attention.
        segments: `(sample, token)` codes: 0 system, 1 prompt, 2 query, 3 template, 4 generated, -1 padding.
        directions: concepts whose activity is read.
        hidden: layers whose hidden states are read, or "all" (`capture.hidden`).
        logprob: also read log-probabilities (needs a model with a language-model head).
        contribution: also read what each segment writes through each head (`capture.contribution`).
        entropy: also read the entropy of each head's weights, and entropy and margin of each generated token's
            distribution.
        previous_token: also read each row's weight on the token right before it (`capture.row_previous_token`).
        rows: keep every row (`capture.row_mass`, `capture.keep`), which generating needs; False only adds them up, with
            means after 1, 2, 4, 8, ... tokens, so that what is kept does not grow with the answers.
        layers: blocks whose attention is read; None reads all. Hidden states and activity do not depend on it.
        chunk_mib: bound in MiB for scores and masks held at a time.
        check: compare with eager attention on a short random text first, once per configuration.

    Yields:
        `Capture`, whose arrays hold what ran so far.

    Raises:
        InputError: Segments are no matrix of codes -1 to 4, a direction does not fit the model, the model is
            already being listened to, or the tokens it was given do not match the segments.
        NotReadableError: The model cannot be read exactly; the message says why.
    """
    network = _network(model)
    codes = _checked(segments)
    if chunk_mib < 1:
        raise InputError(f"chunk_mib: at least 1 MiB is needed, not {chunk_mib}")
    quantities = Quantities(contribution=contribution, entropy=entropy, previous_token=previous_token)
    settings = _Settings(tuple(directions), hidden, logprob, quantities, rows, chunk_mib << 20, layers)

    def path() -> AttentionPath:
        if check:
            return checked_path(network, quantities, read=_reader_of(network, quantities))
        return known_path(network, quantities)

    with _exclusively(network), _captured(network, codes, settings, path) as capture:
        yield capture


def _network(model: Model | nn.Module) -> PreTrainedModel:
    """Return the transformers model, refusing what only looks like one."""
    network = model.model if isinstance(model, Model) else model
    if not isinstance(network, PreTrainedModel):
        inner = next((name for name in ("module", "_orig_mod", "base_model") if hasattr(network, name)), None)
        hint = f"; give its .{inner}" if inner else ""
        raise InputError(f"listen: a model of the transformers library is needed, not {type(network).__name__}{hint}")
    embedding = network.get_input_embeddings()
    # Offloaded weights are on the meta device too, but their module has a hook that brings them in.
    if not hasattr(embedding, "_hf_hook") and any(one.is_meta for one in embedding.parameters(recurse=False)):
        raise InputError(
            f"{type(network).__name__}: its weights are on the meta device, so it computes nothing; load them first"
        )
    return network


@contextlib.contextmanager
def _exclusively(model: PreTrainedModel) -> Iterator[None]:
    with _LOCK:
        if model in _LISTENED:
            raise InputError("this model is already being listened to; read both things in one block")
        _LISTENED.add(model)
    try:
        yield
    finally:
        with _LOCK:
            _LISTENED.discard(model)


def _reader_of(
    model: PreTrainedModel, quantities: Quantities
) -> Callable[[AttentionPath, Int[np.ndarray, "sample token"], Callable[[], object]], Capture]:
    """Return what runs the text of the self-check under a capture."""

    def read(path: AttentionPath, codes: Int[np.ndarray, "sample token"], run: Callable[[], object]) -> Capture:
        with _captured(model, codes, _Settings(quantities=quantities), lambda: path) as capture:
            run()
        return capture

    return read


@contextlib.contextmanager
def _captured(
    model: PreTrainedModel,
    codes: Int[np.ndarray, "sample token"],
    settings: _Settings,
    find_path: Callable[[], AttentionPath],
) -> Iterator[Capture]:
    with contextlib.ExitStack() as stack:
        with unchanged(model):
            path = find_path()
            # Trials are over before anything is read.
            lists = layer_lists(model)
            blocks = lists[0]
            recording = Recording(codes, len(blocks), len(settings.directions), type(model).__name__, settings.rows)
            recording.hidden_layers = chosen_layers(settings.hidden, len(blocks)) if settings.hidden else ()
            is_read = bool(settings.directions or recording.hidden_layers)
            writers = lists[residual_place(model).index] if is_read else ()
            session = _session(model, recording, settings, blocks)
            stack.callback(session.capture.close)
            _follow_passes(model, session, stack)
            stack.enter_context(session.scope.entered())
            stack.enter_context(_observed(model, session, path))
            if is_read:
                stack.enter_context(
                    residual_hooks(
                        model,
                        session.on_residual,
                        blocks=writers,
                        active=lambda: session.scope.is_active,
                        layers=None if settings.directions else recording.hidden_layers,
                    )
                )
        stack.enter_context(followed_generation(session, recording))
        try:
            yield session.capture
        except BaseException:
            session.drop_held()
            raise
        session.finish_block()


def _follow_passes(model: PreTrainedModel, session: Session, stack: contextlib.ExitStack) -> None:
    hooks = (
        model.register_forward_pre_hook(session.before_model, with_kwargs=True),
        decoder_of(model).register_forward_pre_hook(session.before_decoder, with_kwargs=True),
        decoder_of(model).register_forward_hook(session.after_decoder),
        model.register_forward_hook(session.after_model, always_call=True),
    )
    for handle in hooks:
        stack.callback(handle.remove)


def _session(model: PreTrainedModel, recording: Recording, settings: _Settings, blocks: Blocks) -> Session:
    text_settings = model.config.get_text_config(decoder=True)
    projections = output_projections(model, blocks) if settings.quantities.contribution else {}

    def factors_of(layer: int, n_heads: int) -> Tensor | None:
        return head_factors(projections[layer], n_heads) if layer in projections else None

    reader = AttentionReader(
        recording,
        blocks,
        n_heads=n_heads_of(model) or 0,
        chunk_bytes=settings.chunk_bytes,
        quantities=settings.quantities,
        head_factors=factors_of if projections else None,
        layers=range(len(blocks)) if settings.layers is None else settings.layers,
    )
    projection, scores = None, None
    if settings.directions:
        projection = Projection(settings.directions, n_layers=len(blocks), width=int(text_settings.hidden_size))
    if settings.logprob:
        scores = TokenScores(recording, entropy=settings.quantities.entropy, chunk_bytes=settings.chunk_bytes)
    return Session(model, recording, reader, projection=projection, scores=scores, chunk_bytes=settings.chunk_bytes)


def _observed(model: PreTrainedModel, session: Session, path: AttentionPath) -> contextlib.AbstractContextManager[None]:
    """Show the reader every attention call of the decoder."""
    reader, scope = session.reader, session.scope
    if path == "interface":
        return observed_attention(model, reader.on_interface, scope=scope)
    layers = [list(one) for one in layer_lists(model)]
    return observed_primitives(layers, on_weights=reader.on_weights, on_kernel=reader.on_kernel, scope=scope)


def _checked(segments: Any) -> Int[np.ndarray, "sample token"]:
    codes = segments.detach().cpu().numpy() if isinstance(segments, Tensor) else np.asarray(segments)
    if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"segments: an integer matrix (sample, token) is needed, not {codes.dtype} of {codes.shape}")
    if codes.size and (codes.min() < -1 or codes.max() >= len(SEGMENTS)):
        raise InputError(f"segments: codes are -1 to {len(SEGMENTS) - 1}, not {codes.min()} to {codes.max()}")
    return codes.astype(np.int64)
