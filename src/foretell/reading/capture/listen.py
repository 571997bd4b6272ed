"""Listen to any loaded decoder: whatever runs inside `listen` is read, and the model's own numbers stay as they are.

It reads; it does not render text, store tables or know statistics.

    with listen(model, segments) as heard:
        model.model(input_ids=input_ids, attention_mask=attention_mask)
    heard.mass      # (sample, layer, head, segment)
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from foretell.errors import InputError
from foretell.reading.capture.attention import Attending
from foretell.reading.capture.recording import Recording
from foretell.reading.capture.results import Heard
from foretell.reading.capture.session import Listener
from foretell.reading.hooks.attention_interface import observed_attention
from foretell.reading.hooks.function_mode import observed_primitives
from foretell.reading.hooks.residual_stream import (
    decoder_blocks,
    decoder_of,
    layer_lists,
    residual_blocks,
    residual_hooks,
)
from foretell.reading.models.load import Model
from foretell.reading.models.self_check import Path, check_readable, known_path
from foretell.reading.signals.activity import Projecting, ReadableDirection
from foretell.reading.signals.attention_mass import Wanted
from foretell.schema.tables import SEGMENTS

__all__ = ["Heard", "ReadableDirection", "listen"]

_LISTENED: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
_LOCK = threading.Lock()


@contextlib.contextmanager
def listen(
    model: Model | PreTrainedModel,
    segments: np.ndarray | Tensor | Sequence[Sequence[int]],
    *,
    directions: Sequence[ReadableDirection] = (),
    logprob: bool = True,
    contribution: bool = False,
    entropy: bool = False,
    rows: bool = True,
    chunk_mib: int = 64,
    check: bool = True,
) -> Iterator[Heard]:
    """Read attention masses, activity and log-probabilities of whatever `model` runs inside the block.

    One forward pass over prompt and answer reads the rows of the tokens whose code is 4 (generated). Around
    `model.generate`, give the segments of the left-padded prompts: every token beyond them is generated, and when
    `generate` returns, its last token is fed once more, so that both ways give the same numbers. Rows after a
    sample's first end-of-sequence token do not count (`Heard.keep` decides otherwise). In a loop of one's own,
    call `heard.finish(token_ids)` for that.

    Attention is heard where the model looks it up in the library's interface; a model that does not is heard at the
    softmax or the fused kernel inside its blocks. Which of the two is exact, the check finds out.

    A pass with an empty cache starts the reading afresh. Logits inside the block are bit-identical to those
    outside. On leaving, also by an exception, the model is as it was before.

    Args:
        model: a loaded decoder, evaluated by its `sdpa` or `eager` attention.
        segments: `(sample, token)` codes: 0 system, 1 prompt, 2 query, 3 template, 4 generated, -1 padding.
        directions: concepts whose activity is read.
        logprob: also read log-probabilities (needs a model with a language-model head).
        contribution: also read what each segment writes through each head (`heard.contribution`).
        entropy: also read the entropy of each head's weights and of each generated token's distribution.
        rows: keep every row (`heard.row_mass`, `heard.keep`), which generating needs; False only adds them up, with
            means after 1, 2, 4, 8, ... tokens, so that what is kept does not grow with the answers.
        chunk_mib: bound in MiB for scores and masks held at a time.
        check: compare with eager attention on a short random text first, once per configuration.

    Yields:
        `Heard`, whose arrays speak of what ran so far.

    Raises:
        InputError: Segments are no matrix of codes -1 to 4, a direction does not fit the model, the model is
            already being listened to, or it was given another number of samples.
        NotReadableError: The model cannot be read exactly; the message says why.
    """
    network = model.model if isinstance(model, Model) else model
    codes = _checked(segments)
    if chunk_mib < 1:
        raise InputError(f"chunk_mib: at least 1 MiB is needed, not {chunk_mib}")
    wanted = Wanted(contribution=contribution, entropy=entropy)
    with _exclusively(network):
        path = check_readable(network, wanted, listen=_listen_unchecked) if check else known_path(network, wanted)
        with _listen_unchecked(
            network,
            codes,
            directions,
            logprob=logprob,
            chunk_bytes=chunk_mib << 20,
            wanted=wanted,
            tallied=not rows,
            path=path,
        ) as heard:
            yield heard


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


@contextlib.contextmanager
def _listen_unchecked(
    model: PreTrainedModel,
    codes: Int[np.ndarray, "sample token"],
    directions: Sequence[ReadableDirection] = (),
    *,
    logprob: bool,
    chunk_bytes: int,
    wanted: Wanted,
    tallied: bool,
    path: Path,
) -> Iterator[Heard]:
    # Its trial is over before anything is heard.
    writers = residual_blocks(model) if directions else ()
    blocks = decoder_blocks(model)
    recording = Recording(codes, len(blocks), len(directions), type(model).__name__, tallied)
    width = int(model.config.get_text_config(decoder=True).hidden_size)
    projecting = (
        Projecting(directions, n_layers=len(blocks), width=width, shelf=recording.shelf) if directions else None
    )
    listener = Listener(
        model, recording, blocks, projecting=projecting, logprob=logprob, chunk_bytes=chunk_bytes, wanted=wanted
    )
    with contextlib.ExitStack() as stack:
        stack.callback(listener.close)
        for handle in (
            model.register_forward_pre_hook(listener.before_model, with_kwargs=True),
            decoder_of(model).register_forward_pre_hook(listener.before_decoder, with_kwargs=True),
            model.register_forward_hook(listener.after_model),
        ):
            stack.callback(handle.remove)
        stack.enter_context(_observed(model, listener.attending, path))
        if directions:
            stack.enter_context(residual_hooks(model, listener.on_residual, blocks=writers))
        stack.enter_context(_finishing_generate(model, listener))
        yield listener.heard
        listener.settle()


def _observed(model: PreTrainedModel, attending: Attending, path: Path) -> contextlib.AbstractContextManager[None]:
    """Let `attending` hear every attention call of the decoder."""
    if path == "interface":
        return observed_attention(model, attending.on_attention)
    layers = [list(one) for one in layer_lists(model)]
    return observed_primitives(layers, on_weights=attending.on_weights, on_kernel=attending.on_kernel)


@contextlib.contextmanager
def _finishing_generate(model: PreTrainedModel, listener: Listener) -> Iterator[None]:
    """Let `model.generate` feed its last token once more before it returns."""
    if not hasattr(model, "generate"):
        yield
        return
    own = vars(model).get("generate")
    generate: Callable[..., Any] = model.generate  # type: ignore[assignment]

    @functools.wraps(generate)
    def finishing(*arguments: Any, **options: Any) -> Any:
        listener.refuse_tallying()
        output = generate(*arguments, **options)
        sequences = output if isinstance(output, Tensor) else output.sequences
        listener.heard.finish(sequences, end_ids=_end_ids(model, options))
        return output

    vars(model)["generate"] = finishing
    try:
        yield
    finally:
        if own is None:
            vars(model).pop("generate", None)
        else:
            vars(model)["generate"] = own


def _end_ids(model: PreTrainedModel, options: dict[str, Any]) -> tuple[int, ...]:
    """Return the token ids that end a sequence in this call of `generate`."""
    settings = options.get("generation_config") or model.generation_config
    ids = options.get("eos_token_id", getattr(settings, "eos_token_id", None))
    if ids is None:
        return ()
    return tuple(int(token_id) for token_id in torch.as_tensor(ids).reshape(-1))


def _checked(segments: Any) -> Int[np.ndarray, "sample token"]:
    codes = segments.detach().cpu().numpy() if isinstance(segments, Tensor) else np.asarray(segments)
    if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"segments: an integer matrix (sample, token) is needed, not {codes.dtype} of {codes.shape}")
    if codes.size and (codes.min() < -1 or codes.max() >= len(SEGMENTS)):
        raise InputError(f"segments: codes are -1 to {len(SEGMENTS) - 1}, not {codes.min()} to {codes.max()}")
    return codes.astype(np.int64)
