"""A short name for a model's weights, so that a direction is never used on weights it was not made from."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor, nn

__all__ = ["weights_fingerprint"]

_SAMPLED = 256


def weights_fingerprint(model: nn.Module) -> str:
    """Return a name that changes when a parameter's name, shape or value changes.

    Every value enters an exact checksum and some enter the hash themselves, in the order of the parameters' names.
    Values are rounded to bfloat16 first, so the same weights loaded in float32 and in bfloat16 have one name.
    The work is one pass over the weights, on the device where they are.

    Args:
        model: Any torch module; buffers do not count.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = weights_fingerprint(layer)
        >>> _ = layer.weight.data.mul_(2.0)
        >>> before == weights_fingerprint(layer)
        False
    """
    digest = sha256()
    with torch.inference_mode():
        for name, parameter in sorted(model.named_parameters()):
            bits = _bits(parameter)
            stride = max(1, bits.numel() // _SAMPLED)
            # A sum of integers is the same whatever the order of adding, on any number of threads.
            checksum = int(bits.sum(dtype=torch.int64))
            digest.update(f"{name} {tuple(parameter.shape)} {checksum}\n".encode())
            digest.update(bits[::stride].cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _bits(values: Tensor) -> Tensor:
    flat = values.detach().reshape(-1)
    if flat.is_floating_point():
        return flat.to(torch.bfloat16).view(torch.int16)
    return flat.contiguous().view(torch.uint8)
