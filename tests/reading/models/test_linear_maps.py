"""Norms of what heads write, against the direct product in double precision, whatever computes the map."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from transformers.pytorch_utils import Conv1D

from foretell.reading.models import linear_maps
from foretell.reading.models.linear_maps import head_factors, matrix_of

N_HEADS, WIDTH, N_OUTPUTS = 3, 5, 16
N_INPUTS = N_HEADS * WIDTH


class Lora(nn.Module):
    """A linear layer and a change of low rank, which can be switched off or merged."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base_layer = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.is_on = True

    def forward(self, x: Tensor) -> Tensor:
        output = torch.as_tensor(self.base_layer(x))
        return output + 2.0 * torch.as_tensor(self.up(self.down(self.dropout(x)))) if self.is_on else output

    def change(self) -> Tensor:
        return 2.0 * self.up.weight.detach() @ self.down.weight.detach()

    def merge(self) -> None:
        self.base_layer.weight.data += self.change()
        self.is_on = False


class Quantised(nn.Module):
    """A weight of eight bits per number with a scale per row, put together in each call."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("codes", (linear.weight.detach() / scale).round().to(torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        scale, codes = self.get_buffer("scale"), self.get_buffer("codes")
        return nn.functional.linear(x, codes.to(scale.dtype) * scale)


class Doubled(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2.0 * weight


class Reversed(nn.Linear):
    """A linear layer whose weight stands for another one."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.flip(0) * 3.0, self.bias)


def plain(*, bias: bool = True) -> nn.Linear:
    return nn.Linear(N_INPUTS, N_OUTPUTS, bias=bias)


def convolution() -> tuple[nn.Module, Tensor]:
    module: nn.Module = Conv1D(N_OUTPUTS, N_INPUTS)  # type: ignore[no-untyped-call]
    return module, module.get_parameter("weight").detach().T


def lora(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor]:
    module = Lora(plain()).to(dtype)
    parts = [one.weight.detach().double() for one in (module.base_layer, module.up, module.down)]
    return module, parts[0] + 2.0 * parts[1] @ parts[2]


def parametrized() -> tuple[nn.Module, Tensor]:
    module = plain()
    own = module.weight.detach().clone()
    parametrize.register_parametrization(module, "weight", Doubled())
    return module, 2.0 * own


def weight_normed() -> tuple[nn.Module, Tensor]:
    module = parametrizations.weight_norm(plain())
    module.parametrizations.weight.original0.data *= 3.0
    return module, module.weight.detach()


def weight_normed_of_old() -> tuple[nn.Module, Tensor]:
    module = nn.utils.weight_norm(plain())
    own = module.weight.detach().clone()
    module.get_parameter("weight_g").data *= 3.0
    return module, 3.0 * own


def pruned() -> tuple[nn.Module, Tensor]:
    module = plain()
    prune.random_unstructured(module, "weight", 0.5)  # type: ignore[no-untyped-call]
    module.get_parameter("weight_orig").data *= 3.0
    return module, module.get_parameter("weight_orig").detach() * module.get_buffer("weight_mask")


def quantised() -> tuple[nn.Module, Tensor]:
    module = Quantised(plain())
    return module, module.get_buffer("codes").double() * module.get_buffer("scale").double()


def reversed_rows() -> tuple[nn.Module, Tensor]:
    module = Reversed(N_INPUTS, N_OUTPUTS)
    return module, 3.0 * module.weight.detach().flip(0)


def with_dropout() -> tuple[nn.Module, Tensor]:
    inner = plain()
    return nn.Sequential(inner, nn.Dropout(0.5)), inner.weight.detach()


def with_large_bias() -> tuple[nn.Module, Tensor]:
    module, weight = lora()
    module.get_parameter("base_layer.bias").data += 1e6
    return module, weight


def with_another_forward() -> tuple[nn.Module, Tensor]:
    module = plain(bias=False)
    own = module.forward
    module.forward = lambda x: 5.0 * own(x)  # type: ignore[assignment,method-assign]
    return module, 5.0 * module.weight.detach()


def of(**options: Any) -> Callable[[], tuple[nn.Module, Tensor]]:
    """A plain layer of another type or shape."""

    def make() -> tuple[nn.Module, Tensor]:
        module = nn.Linear(options.get("n_inputs", N_INPUTS), options.get("n_outputs", N_OUTPUTS))
        module.to(options.get("dtype", torch.float32))
        return module, module.weight.detach()

    return make


MAKERS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "plain": of(),
    "fewer outputs than a head is wide": of(n_outputs=2),
    "double": of(dtype=torch.float64),
    "bfloat16": of(dtype=torch.bfloat16),
    "float16": of(dtype=torch.float16),
    "convolution": convolution,
    "adapter": lora,
    "adapter in bfloat16": lambda: lora(torch.bfloat16),
    "parametrized": parametrized,
    "weight norm": weight_normed,
    "weight norm of old": weight_normed_of_old,
    "pruned": pruned,
    "quantised": quantised,
    "another class": reversed_rows,
    "with dropout": with_dropout,
    "with a large bias": with_large_bias,
    "with another forward": with_another_forward,
}


def made(maker: Callable[[], tuple[nn.Module, Tensor]]) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return maker()


def assert_norms(module: nn.Module, weight: Tensor, *, n_heads: int = N_HEADS, n_inputs: int | None = None) -> None:
    """Fail unless norms through the factors are those of the direct product in double precision."""
    factors = head_factors(module, n_heads, n_inputs=n_inputs)
    assert factors is not None
    width = weight.shape[1] // n_heads
    assert factors.shape == (n_heads, width, width)
    kinds = {one.dtype for one in (*module.parameters(), *module.buffers())}
    assert factors.dtype == (torch.float64 if torch.float64 in kinds else torch.float32)
    vectors = torch.from_numpy(np.random.default_rng(5).normal(size=(50, width)))
    for head in range(n_heads):
        own = weight.double()[:, head * width : (head + 1) * width]
        # What single precision cannot tell from zero beside the largest numbers is left out.
        smallest = 3e-7 * float(torch.linalg.matrix_norm(own, 2) * vectors.norm(dim=1).max())
        found = (vectors @ factors[head].double().T).norm(dim=1)
        torch.testing.assert_close(found, (vectors @ own.T).norm(dim=1), rtol=1e-5, atol=smallest)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("kind", list(MAKERS))
def test_norms_are_those_of_the_direct_product(kind: str) -> None:
    module, weight = made(MAKERS[kind])
    modes = [one.training for one in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    assert_norms(module, weight, n_inputs=N_INPUTS)
    assert modes == [one.training for one in module.modules()]
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def added(linear: nn.Linear) -> None:
    linear.weight.data += 0.5 * torch.randn_like(linear.weight)


def replaced(linear: nn.Linear) -> None:
    linear.weight.data = torch.randn_like(linear.weight)


def copied(linear: nn.Linear) -> None:
    with torch.no_grad():
        linear.weight.copy_(torch.randn_like(linear.weight))


def one_number(linear: nn.Linear) -> None:
    linear.weight.data[3, 7] *= 1.01


def two_columns(linear: nn.Linear) -> None:
    linear.weight.data[:, [1, 9]] = linear.weight.data[:, [9, 1]]


def two_columns_of_a_head(linear: nn.Linear) -> None:
    linear.weight.data[:, [0, 4]] = linear.weight.data[:, [4, 0]]


def another_parameter(linear: nn.Linear) -> None:
    linear.weight = nn.Parameter(torch.randn_like(linear.weight))


EDITS = (added, replaced, copied, one_number, two_columns, two_columns_of_a_head, another_parameter)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_edited_weight_is_the_new_one(edit: Callable[[nn.Linear], None], wrapped: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inner = plain().to(dtype)
    module = nn.Sequential(inner) if wrapped else inner
    before = head_factors(module, N_HEADS)
    edit(inner)
    after = head_factors(module, N_HEADS)
    assert before is not None
    assert after is not None
    assert not torch.equal(before, after)
    assert_norms(module, inner.weight.detach())


def test_adapters_count_while_they_are_on_and_when_they_are_merged() -> None:
    torch.manual_seed(0)
    module = Lora(plain())
    base = module.base_layer.weight.detach().clone()
    for _ in range(2):
        module.is_on = True
        assert_norms(module, base + module.change())
        module.is_on = False
        assert_norms(module, base)
    merged = base + module.change()
    module.merge()
    assert_norms(module, merged)
    assert_norms(module.base_layer, merged)
    module.train()
    module.is_on = True
    assert_norms(module, merged + module.change())
    assert module.dropout.training


@pytest.mark.parametrize("kind", ["plain", "bfloat16", "double", "convolution"])
def test_the_least_change_of_the_least_number_counts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = made(MAKERS[kind])[0]
    numbers = next(module.parameters()).data.view(-1)
    numbers[0] = 1e-30
    head_factors(module, N_HEADS)
    own, calls = linear_maps._factors, []

    def counted(matrix: Tensor, n_heads: int) -> Tensor:
        calls.append(n_heads)
        return own(matrix, n_heads)

    monkeypatch.setattr(linear_maps, "_factors", counted)
    head_factors(module, N_HEADS)
    assert not calls
    numbers[0] = torch.nextafter(numbers[0], numbers.new_tensor(1.0))
    head_factors(module, N_HEADS)
    assert len(calls) == 1


def test_what_has_not_changed_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = linear_maps._factors
    calls: list[int] = []

    def counted(matrix: Tensor, n_heads: int) -> Tensor:
        calls.append(n_heads)
        return own(matrix, n_heads)

    monkeypatch.setattr(linear_maps, "_factors", counted)
    modules = [plain(), Lora(plain()), convolution()[0]]
    for _ in range(3):
        for module in modules:
            first = head_factors(module, N_HEADS)
            with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
                assert head_factors(module, N_HEADS) is first
    assert len(calls) == 3
    assert head_factors(modules[0], 5) is not head_factors(modules[0], N_HEADS)


SPECTRA = {
    "ill-conditioned": torch.logspace(0, -9, WIDTH),
    "of rank one": torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]),
    "of rank three": torch.tensor([1.0, 0.5, 0.2, 0.0, 0.0]),
    "huge": torch.full((WIDTH,), 1e18),
    "tiny": torch.full((WIDTH,), 1e-18),
}


@pytest.mark.parametrize("kind", list(SPECTRA))
def test_weights_of_any_spectrum(kind: str) -> None:
    generator = torch.Generator().manual_seed(4)
    module = plain(bias=False)
    for head in range(N_HEADS):
        left, _, right = torch.linalg.svd(torch.randn(N_OUTPUTS, WIDTH, generator=generator), full_matrices=False)
        module.weight.data[:, head * WIDTH : (head + 1) * WIDTH] = left * SPECTRA[kind] @ right
    assert_norms(module, module.weight.detach())


def test_columns_of_very_different_sizes() -> None:
    module = plain(bias=False)
    module.weight.data *= torch.logspace(0, -12, N_INPUTS)
    assert_norms(module, module.weight.detach())
    unit = head_factors(module, N_HEADS)
    assert unit is not None
    sizes = unit.norm(dim=1).flatten()
    torch.testing.assert_close(sizes, module.weight.detach().norm(dim=0), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_zero_weights_write_nothing(wrapped: bool) -> None:
    inner = plain()
    inner.weight.data[:, :WIDTH] = 0.0
    assert_norms(nn.Sequential(inner) if wrapped else inner, inner.weight.detach())
    inner.weight.data.zero_()
    factors = head_factors(nn.Sequential(inner) if wrapped else inner, N_HEADS)
    assert factors is not None
    assert not factors.any()


def test_weights_that_are_not_finite_have_no_norms() -> None:
    module = plain()
    module.weight.data[2, 1] = torch.inf
    module.weight.data[0, 6] = torch.nan
    factors = head_factors(module, N_HEADS)
    assert factors is not None
    assert factors.isnan().flatten(1).all(1).tolist() == [True, True, False]


class Bent(nn.Module):
    """What is no affine map: of one kind or another."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear = plain()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        written = torch.as_tensor(self.linear(x))
        if self.kind == "a little":
            return written + 1e-2 * written.relu()
        if self.kind == "only for large numbers":
            return written.clamp(-20.0, 20.0)
        if self.kind == "its input's size":
            return written / x.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        if self.kind == "mixing rows":
            return written + written.mean(1, keepdim=True)
        return (written, None) if self.kind == "a tuple" else written[0]


@pytest.mark.parametrize(
    "kind", ["a little", "only for large numbers", "its input's size", "mixing rows", "a tuple", "fewer axes"]
)
def test_what_is_no_affine_map_has_no_factors(kind: str) -> None:
    assert head_factors(Bent(kind), N_HEADS) is None
    assert matrix_of(Bent(kind), N_INPUTS) is None


def test_wrong_numbers_have_no_factors() -> None:
    assert head_factors(plain(), 4) is None
    assert head_factors(plain(), 0) is None
    assert head_factors(plain(), N_HEADS, n_inputs=30) is None
    assert head_factors(Lora(plain()), N_HEADS, n_inputs=30) is None
    assert head_factors(nn.LayerNorm(N_INPUTS), N_HEADS) is None
    assert head_factors(nn.Embedding(4, N_INPUTS), N_HEADS) is None
    nameless, weight = made(quantised)
    assert head_factors(nameless, N_HEADS) is None
    assert_norms(nameless, weight, n_inputs=N_INPUTS)


def test_hooks_of_others_are_not_called() -> None:
    module = plain()
    called: list[int] = []
    module.register_forward_pre_hook(lambda *_: called.append(1))
    module.register_forward_hook(lambda *_: called.append(2))
    assert_norms(module, module.weight.detach())
    assert not called


def test_factors_let_go_of_their_module() -> None:
    module = Lora(plain())
    head_factors(module, N_HEADS)
    alive = weakref.ref(module)
    del module
    gc.collect()
    assert alive() is None


def test_a_weight_on_disk_is_the_same(tmp_path: Any) -> None:
    from accelerate import disk_offload  # type: ignore[import-untyped]

    for wrapper in (nn.Identity, Lora):
        torch.manual_seed(0)
        inner = plain()
        weight = inner.weight.detach().clone()
        module = nn.Sequential(inner) if wrapper is nn.Identity else Lora(inner)
        if isinstance(module, Lora):
            weight = weight + module.change()
        disk_offload(module, str(tmp_path / wrapper.__name__), execution_device=torch.device("cpu"))
        assert inner.weight.is_meta
        if wrapper is nn.Identity:
            assert torch.equal(
                torch.as_tensor(head_factors(inner, N_HEADS)), torch.as_tensor(head_factors(loaded(weight), N_HEADS))
            )
        assert_norms(module, weight)
        assert inner.weight.is_meta


def loaded(weight: Tensor) -> nn.Linear:
    module = plain()
    module.weight.data = weight
    return module
