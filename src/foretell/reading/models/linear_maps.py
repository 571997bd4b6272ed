"""The linear map that a module computes, whatever computes it, and the norm of what each head writes through it.

A plain linear layer is its weight. Anything else (adapters around a layer, parametrized or quantised weights, other
classes) is applied to unit vectors, after which its output at random vectors must be that of the matrix found.

    from foretell.reading.models.linear_maps import head_factors
    factors = head_factors(block.self_attn.o_proj, n_heads)     # |factors[h] @ x| = |W_h @ x|
"""

from __future__ import annotations

import contextlib
import copy
import functools
import weakref
from collections.abc import Iterator

import torch
from accelerate.utils import align_module_device  # type: ignore[import-untyped]
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from foretell.reading.models.trial import FAILURES, evaluating

__all__ = ["head_factors", "matrix_of"]

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4}
"""Of the largest output of a map that is taken for a linear one; half precision rounds more coarsely."""
_COARSE = 2e-2
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8)
_SCALES = (0.01, 1.0, 100.0)
"""Of the random vectors that a map is tried on."""


_FACTORS: weakref.WeakKeyDictionary[nn.Module, tuple[int, list[Tensor], Tensor | None]] = weakref.WeakKeyDictionary()
"""Of each module the number of heads, what showed its state when its factors were computed, and these."""


def head_factors(
    projection: nn.Module, n_heads: int, *, n_inputs: int | None = None
) -> Float[Tensor, "head width width"] | None:
    """Return a square factor R_h per head with |R_h x| = |W_h x|; W_h are the columns that the head writes through.

    W is the map that `projection` computes now, without its bias and without hooks on it: of a plain linear layer the
    weight, otherwise what comes out for unit vectors. Factors are computed once, and again when the map has changed,
    which sums of its parameters' bits show, and the response of what is no plain layer to a fixed pseudo-random vector.

    Args:
        projection: the module that takes the outputs of all heads, one after the other.
        n_heads: heads of equal width.
        n_inputs: numbers that it takes; None reads it from the module (`in_features`).

    Returns:
        Factors on the device of the weight, in float32, or in float64 if the module computes in it; nan where a weight
        is not finite. None if the module computes no affine map of so many heads.

    Source:
        R_h^T R_h = W_h^T W_h, by Cholesky in float64, and by eigenvalues where W_h has no full rank.

    Example:
        >>> import torch
        >>> projection = torch.nn.Linear(6, 4)
        >>> x = torch.ones(2)
        >>> factors = head_factors(projection, n_heads=3)
        >>> torch.allclose((factors[1] @ x).norm(), (projection.weight[:, 2:4] @ x).norm())
        True
    """
    n_inputs = n_inputs or _inputs_of(projection)
    if n_inputs is None or n_heads < 1 or n_inputs % n_heads:
        return None
    try:
        state = _state(projection, n_inputs)
    except FAILURES:
        return None
    known = _FACTORS.get(projection)
    if known is None or known[0] != n_heads or not _is_same(known[1], state):
        with _undisturbed(projection):
            matrix, factors = matrix_of(projection, n_inputs), None
            if matrix is not None:
                # What a module puts out has its precision; a matrix that was found by trial may have a higher one.
                computed = state[0] if state[0].is_floating_point() else matrix
                factors = _factors(matrix, n_heads).to(torch.promote_types(computed.dtype, torch.float32))
            known = _FACTORS[projection] = (n_heads, state, factors)
    return known[2]


def matrix_of(module: nn.Module, n_inputs: int) -> Float[Tensor, "output input"] | None:
    """Return the matrix of the affine map that a module computes from `n_inputs` numbers; None if it is no such map."""
    with _undisturbed(module), align_module_device(module):
        weight = _plain_weight(module)
        if weight is not None:
            return weight.detach() if weight.shape[1] == n_inputs else None
        for maker in (_in_double_precision, lambda one: one):
            try:
                return _probed(maker(module), n_inputs)
            except FAILURES:
                continue
    return None


def _inputs_of(module: nn.Module) -> int | None:
    """Return how many numbers a module takes, by its own attribute or that of the first module inside it."""
    counts = (getattr(one, name, None) for one in module.modules() for name in ("in_features", "nx"))
    return next((count for count in counts if isinstance(count, int) and count > 0), None)


def _is_same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(
        one.device == other.device and torch.equal(one, other) for one, other in zip(first, second, strict=True)
    )


def _state(module: nn.Module, n_inputs: int) -> list[Tensor]:
    """Return what differs when the map has changed.

    It is sums of the bits of a plain weight; of anything else what it makes of a fixed pseudo-random vector, and sums
    of the bits of its parts.
    """
    # This is asked in every layer of every pass, so nothing is prepared that a plain weight at hand does not need.
    if (weight := _plain_weight(module)) is not None:
        return [_bit_sums(weight)]
    with _undisturbed(module), align_module_device(module):
        if (weight := _plain_weight(module)) is not None:
            return [_bit_sums(weight)]
        output = _applied(module, _random_vectors(n_inputs, 1))
        # What comes out in half precision is too coarse to show a small change of a weight.
        parts = [one for one in (*module.parameters(), *module.buffers()) if type(one.data) is Tensor and one.numel()]
        return [output, *(_bit_sums(one) for one in parts if not one.is_meta)]


def _bit_sums(values: Tensor) -> Tensor:
    """Return sums of the bits of each row, read as integers and mixed by place. Every single change and any swap shows.

    A product with a fixed vector needs copies in single precision, which took two to twenty times as long in bfloat16.
    """
    rows = values.detach() if values.ndim else values.detach()[None]
    if rows.ndim == 2 and not rows.is_contiguous():
        rows = rows.T  # as it lies in memory
    rows = rows.contiguous()
    size, offset = (n * rows.element_size() for n in (rows.shape[-1], rows.storage_offset()))
    kind = next(one for one in _INTEGERS if size % one.itemsize == offset % one.itemsize == 0)
    bits = rows.view(kind)
    return torch.as_tensor((bits ^ _random_bits(bits.shape[-1], kind).to(bits.device)).sum(-1))


def _plain_weight(module: nn.Module) -> Tensor | None:
    """Return the weight, `(output, input)`, of a module that is nothing but a linear layer with an ordinary weight."""
    if type(module) not in {nn.Linear, Conv1D} or not _has_own_forward(module):
        return None
    for hook in module._forward_pre_hooks.values():
        # Weight norm, spectral norm and pruning of the older kind put the weight together before each call.
        if type(hook).__module__.startswith("torch.nn.utils."):
            hook(module, ())
    weight = module.weight
    plain = type(weight) in {Tensor, nn.Parameter} and type(weight.data) is Tensor
    if not plain or weight.dtype not in _FLOATS or weight.ndim != 2 or weight.is_meta:
        return None
    return torch.as_tensor(weight.T if isinstance(module, Conv1D) else weight)


def _has_own_forward(module: nn.Module) -> bool:
    """Tell whether a module computes what its class says; offloading replaces `forward` and changes nothing of that."""
    forward = vars(module).get("forward")
    if forward is None:
        return True
    wrapper = getattr(getattr(forward, "func", None), "__module__", None)
    before = getattr(vars(module).get("_old_forward"), "__func__", None)
    return wrapper == "accelerate.hooks" and before is type(module).forward


def _probed(module: nn.Module, n_inputs: int) -> Tensor | None:
    """Return the matrix that a module's outputs at unit vectors make, if its other outputs are those of that matrix."""
    offset = _applied(module, torch.zeros(1, n_inputs, device="cpu"))
    wide = torch.promote_types(offset.dtype, torch.float32)
    matrix = _applied(module, torch.eye(n_inputs, device="cpu")).to(wide) - offset.to(wide)
    scales = torch.tensor(_SCALES, device="cpu")[:, None]
    vectors = _random_vectors(n_inputs, len(_SCALES)) * scales
    found = _applied(module, vectors).to(wide) - offset.to(wide)
    expected = vectors.to(matrix) @ matrix
    rounding = 8 * torch.finfo(offset.dtype).eps * offset.abs().max().to(wide)
    allowed = _TOLERANCE.get(offset.dtype, _COARSE) * expected.abs().amax(1) + rounding
    return matrix.T if bool(((found - expected).abs().amax(1) <= allowed).all()) else None


def _applied(module: nn.Module, vectors: Float[Tensor, "row input"]) -> Float[Tensor, "row output"]:
    """Return what a module makes of each vector, past all hooks on it."""
    tensors = [*module.parameters(), *module.buffers()]
    device = next((one.device for one in tensors if not one.is_meta), torch.device("cpu"))
    dtype = next((one.dtype for one in tensors if one.dtype in _FLOATS), torch.float32)
    output = module.forward(vectors.to(device, dtype)[None])
    if not isinstance(output, Tensor) or output.shape[:2] != (1, len(vectors)) or output.ndim != 3:
        raise ValueError("no vector comes out for each that goes in")
    return output[0].detach()


def _in_double_precision(module: nn.Module) -> nn.Module:
    """Return a copy that computes in double precision; what is offloaded is not copied."""
    if any("forward" in vars(one) for one in module.modules()):
        raise ValueError("a replaced forward computes with the original")
    return copy.deepcopy(module).double()


def _factors(matrix: Float[Tensor, "output input"], n_heads: int) -> Float[Tensor, "head width width"]:
    device = torch.device("cpu") if matrix.device.type == "mps" else matrix.device
    n_outputs, n_inputs = matrix.shape
    per_head = matrix.to(device, torch.float64).reshape(n_outputs, n_heads, n_inputs // n_heads).transpose(0, 1)
    squared = per_head.mT @ per_head
    factors, failed = torch.linalg.cholesky_ex(squared, upper=True)
    if failed.any():
        factors[failed > 0] = _root(squared[failed > 0])
    return torch.as_tensor(factors.to(matrix.device))


def _root(squared: Float[Tensor, "head width width"]) -> Float[Tensor, "head width width"]:
    """Return R with R^T R = `squared`, which may have no full rank; nan where it is not finite."""
    finite = squared.isfinite().all(-1).all(-1)[:, None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, squared, 0.0))
    roots = values.clamp_min(0.0).sqrt()[..., None] * vectors.mT
    return torch.where(finite, roots, torch.nan)


@functools.lru_cache(maxsize=64)
def _random_vectors(n_inputs: int, n_rows: int) -> Float[Tensor, "row input"]:
    generator = torch.Generator("cpu").manual_seed(n_inputs)
    return torch.randn(n_rows, n_inputs, generator=generator, device="cpu", dtype=torch.float32)


@functools.lru_cache(maxsize=64)
def _random_bits(n: int, kind: torch.dtype) -> Int[Tensor, " n"]:
    generator = torch.Generator("cpu").manual_seed(n)
    return torch.randint(
        torch.iinfo(kind).min, torch.iinfo(kind).max, (n,), generator=generator, dtype=kind, device="cpu"
    )


@contextlib.contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    """Compute without gradients, dropout and automatic mixed precision."""
    device = next((one.device.type for one in module.parameters() if not one.is_meta), "cpu")
    with evaluating(module), torch.autocast(device, enabled=False):
        yield
