"""A short name for a model's weights, so that a direction is never used on weights it was not made from.

name = weights_fingerprint(network)
reason = weights_differ(network, name)      # None: the same weights
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foretell.errors import NotReadableError

__all__ = ["weights_differ", "weights_fingerprint"]

_VERSION = "v2"
"""Of the way names are made; names of another version cannot be compared."""
_VERSION_HALF = f"{_VERSION}-float16"
_CHUNK = 1 << 17
"""Values under one checksum."""
_FACTOR_BITS = 46


def weights_fingerprint(model: nn.Module, *, half: bool | None = None) -> str:
    """Return a name that changes when a weight's name, shape, value or place changes.

    Weights are all parameters and those buffers that are saved with the model (quantised weights and routing
    corrections are such buffers); what a model computes for itself when it is built does not count. Values are
    rounded to bfloat16 first, so the same weights loaded in float32 and in bfloat16 have one name. Loaded in float16
    they were rounded otherwise, which cannot be undone: they have a name of another kind. Integers count bit by bit.

    Each run of 131,072 values enters a hash as a checksum: its bits times factors that belong to their places, added
    up in integers, exactly and on the device where the weights are. One changed value and two exchanged ones always
    change it, any other change but for a chance of about one in 2^46.

    Args:
        model: Any torch module; weights that `accelerate` keeps on disk are read from there.
        half: Round to float16 instead of bfloat16; None: if there are float16 weights.

    Returns:
        `v2:` or, of float16, `v2-float16:`, and 16 hexadecimal digits.

    Raises:
        NotReadableError: The model has no weights yet (it is on the meta device).

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = weights_fingerprint(layer)
        >>> _ = layer.weight.data.mul_(2.0)
        >>> before == weights_fingerprint(layer)
        False
    """
    half = _holds(model, torch.float16) if half is None else half
    digest = sha256()
    with torch.inference_mode():
        for name, values in _weights(model):
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(_checksums(_bits(values, torch.float16 if half else torch.bfloat16)).tobytes())
    return f"{_VERSION_HALF if half else _VERSION}:{digest.hexdigest()[:16]}"


def weights_differ(model: nn.Module, fingerprint: str) -> str | None:
    """Say why a model's weights are not known to be those of a fingerprint; None where they are the same.

    Args:
        model: A model that is to be used.
        fingerprint: What `weights_fingerprint` returned for the weights that are needed.

    Returns:
        What follows "the weights of this model" in a sentence that has named the others before.
    """
    kind, _, _ = fingerprint.partition(":")
    if kind not in (_VERSION, _VERSION_HALF):
        return "cannot be compared with those, because an older version of foretell gave them a name of another kind"
    needed_half = kind == _VERSION_HALF
    found = weights_fingerprint(model, half=needed_half)
    if found == fingerprint:
        return None
    if _holds(model, torch.bfloat16 if needed_half else torch.float16):
        own, theirs = ("bfloat16", "float16") if needed_half else ("float16", "float32 or bfloat16")
        return f"are loaded in {own}, and cannot be compared with those, loaded in {theirs}; load this model in float32"
    return f"are others ({found} instead of {fingerprint})"


def _holds(model: nn.Module, dtype: torch.dtype) -> bool:
    return any(parameter.dtype == dtype for parameter in model.parameters())


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all that is saved with a model, in the order of the names; what is tied once."""
    saved = model.state_dict(keep_vars=True)
    found: set[int] = set()
    for name in sorted(saved):
        values = saved[name]
        if not isinstance(values, Tensor) or id(values) in found:
            continue
        found.add(id(values))
        yield name, _offloaded(model, name) if values.is_meta else values.detach()


def _offloaded(model: nn.Module, name: str) -> Tensor:
    """Return a weight that waits elsewhere until its module runs."""
    owner, _, own = name.rpartition(".")
    hook: Any = getattr(model.get_submodule(owner), "_hf_hook", None)
    for one in getattr(hook, "hooks", (hook,)):
        waiting = getattr(one, "weights_map", None)
        if waiting is not None and isinstance(values := waiting[own], Tensor):
            return values
    raise NotReadableError(f"{type(model).__name__}: {name} has no values (it is on the meta device); load its weights")


def _bits(values: Tensor, dtype: torch.dtype) -> Tensor:
    flat = values.reshape(-1)
    if flat.is_floating_point():
        return flat.to(dtype).view(torch.int16)
    return flat.contiguous().view(torch.uint8)


def _checksums(bits: Tensor) -> np.ndarray:
    """Return a sum modulo 2^64 for each run of values: the same whatever the order of adding, on any device."""
    sums = []
    for start in range(0, bits.numel(), _CHUNK):
        part = bits[start : start + _CHUNK].to(torch.int64)
        sums.append((part.mul_(_factors(part.device)[: part.numel()])).sum())
    return torch.stack(sums).cpu().numpy() if sums else np.empty(0, dtype=np.int64)


@functools.cache
def _factors(device: torch.device) -> Tensor:
    """Return a factor for each place of a run: different ones, odd, and without a pattern that weights could have.

    A difference of 16 bits times a difference of two factors below 2^46 stays below 2^62 and is not zero, so two
    exchanged values never cancel.
    """
    # The generator of Steele et al. 2014 (SplitMix64), written out because names must outlive versions of numpy.
    mixed = np.arange(1, _CHUNK + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    factors = (mixed >> np.uint64(64 - _FACTOR_BITS)) | np.uint64(1)
    return torch.from_numpy(factors.astype(np.int64)).to(device)
