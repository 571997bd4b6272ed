"""Refuse forward passes that cannot be read correctly, before anything of them is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.recording import Recording

__all__ = [
    "Generation",
    "own_tokens",
    "refuse_other_samples",
    "refuse_recomputing",
    "refuse_second_text",
    "refuse_transforms",
]


@dataclass
class Generation:
    """One call of `generate`."""

    n_beams: int
    attention_mask: Tensor | None = None
    """`(sample, token)` that goes with the tokens so far."""
    knows_mask: bool = False
    is_started: bool = False


def refuse_recomputing(model: PreTrainedModel) -> None:
    """Refuse gradient checkpointing, which runs blocks twice.

    Raises:
        NotReadableError: The model is training with it.
    """
    if model.training and any(getattr(one, "gradient_checkpointing", False) for one in model.modules()):
        raise NotReadableError(
            f"{type(model).__name__}: gradient checkpointing runs blocks again in the backward pass; "
            "switch it off, or call model.eval() first"
        )


def refuse_transforms(arguments: Mapping[str, Any]) -> None:
    """Refuse tensors inside a function transform, whose numbers cannot be taken out.

    Raises:
        NotReadableError: An argument is such a tensor.
    """
    tensors = [value for value in arguments.values() if isinstance(value, Tensor)]
    if any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors):
        raise NotReadableError("a pass inside torch.func (vmap, grad, ...) cannot be read; call the model outside")


def own_tokens(module: nn.Module, arguments: Mapping[str, Any]) -> Tensor:
    """Return the token ids or embeddings that a decoder is given.

    Raises:
        NotReadableError: It is given neither, or an encoder's states beside them.
    """
    given = next((arguments[name] for name in ("input_ids", "inputs_embeds") if arguments.get(name) is not None), None)
    if given is None:
        raise NotReadableError(f"{type(module).__name__}: it is given neither token ids nor embeddings")
    if arguments.get("encoder_hidden_states") is not None:
        raise NotReadableError(
            f"{type(module).__name__}: it attends to an encoder's states, and that is not read; "
            "only a decoder's attention to its own tokens is"
        )
    return torch.as_tensor(given)


def refuse_other_samples(n_samples: int, recording: Recording, generation: Generation | None) -> None:
    """Refuse a pass whose samples are not those of the segments, or change places.

    Raises:
        InputError: Their number differs, or beams are searched.
    """
    if n_samples != recording.n_samples:
        raise InputError(f"segments are for {recording.n_samples} samples, and the model got {n_samples}")
    if generation is not None and generation.n_beams > 1:
        raise InputError(
            f"generate: with num_beams={generation.n_beams} samples change places, and rows of one sample would be of "
            "several texts; generate first, and read the finished texts"
        )


def refuse_second_text(
    start: int, width: int, token_ids: Tensor | None, recording: Recording, generation: Generation
) -> None:
    """Refuse a pass of `generate` over another text than that of its prompts.

    Args:
        start: columns before the pass.
        width: columns that it feeds.
        token_ids: what it feeds.
        recording: what the passes before were.
        generation: the call.

    Raises:
        InputError: The pass begins before the end of the prompts, and does not repeat the text so far.
    """
    n_known = recording.n_columns
    if generation.is_started and n_known >= recording.segments.shape[1] > start:
        known = recording.token_ids(n_known) if start == 0 and width >= n_known else None
        if known is None or token_ids is None or not torch.equal(known, token_ids[:, :n_known].to(known.device)):
            raise InputError(
                "generate: a second text is fed to the model in the same call (guidance does that), so rows would be "
                "of another text; generate first, and read the finished texts"
            )
    generation.is_started = True
