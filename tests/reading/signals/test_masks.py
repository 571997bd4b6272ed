"""What rows see, whatever a mask looks like: what is added to scores, and each segment's share of the keys seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.errors import NotReadableError
from foretell.reading.capture.recording import Shelf
from foretell.reading.signals.masks import Chosen, Masks, span_of

N_TOKENS, FIRST_ROW = 11, 7
CODES = torch.tensor([[3, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4], [-1, -1, 3, 0, 1, 2, 3, 4, 4, 4, 4]])
INSIDE = (CODES[:, None] == torch.arange(5)[:, None]).float()


def chosen_rows(rows: torch.Tensor) -> Chosen:
    return Chosen(rows, span_of(rows), keep=True)


ROWS = torch.arange(FIRST_ROW, N_TOKENS).repeat(2, 1)
SCATTERED = torch.tensor([[7, 8, 10], [7, 9, 10]])


def seen_by(rows: torch.Tensor, *, padding: bool) -> torch.Tensor:
    """True where a row sees a key, `(sample, 1, row, key)`."""
    visible = torch.arange(N_TOKENS) <= rows[:, None, :, None]
    return visible & (CODES >= 0)[:, None, None] if padding else visible


def whole_mask(*, padding: bool) -> torch.Tensor:
    return seen_by(torch.arange(N_TOKENS).repeat(2, 1), padding=padding)


def shares(visible: torch.Tensor) -> np.ndarray:
    counts = visible[:, 0].double() @ INSIDE.double().transpose(1, 2)
    return (counts / counts.sum(-1, keepdim=True)).numpy()


@pytest.mark.parametrize("rows", [ROWS, SCATTERED], ids=["neighbours", "scattered"])
@pytest.mark.parametrize("kind", ["causal", "bool", "additive", "minus infinity"])
def test_what_rows_see(kind: str, rows: torch.Tensor) -> None:
    padding = kind != "causal"
    mask = None
    if padding:
        visible = whole_mask(padding=True)
        least = -torch.inf if kind == "minus infinity" else torch.finfo(torch.float32).min
        mask = visible if kind == "bool" else torch.zeros(visible.shape).masked_fill(~visible, least)
    found = Masks(rows.shape[1], Shelf()).of(mask, chosen_rows(rows), INSIDE, causal=True)
    expected = seen_by(rows, padding=padding)
    whole = found.whole
    assert whole is not None
    assert torch.equal(whole == 0, expected.expand(whole.shape))
    assert torch.isfinite(whole).all()
    np.testing.assert_allclose(found.share.numpy(), shares(expected), rtol=1e-6)


def test_only_the_last_keys_are_touched_where_no_padding_is() -> None:
    masks = Masks(ROWS.shape[1], Shelf())
    unsaid = masks.of(None, chosen_rows(ROWS), INSIDE, causal=True)
    said = masks.of(whole_mask(padding=False), chosen_rows(ROWS), INSIDE, causal=True)
    for mask in (unsaid, said):
        assert mask.added is not None
        assert mask.first == FIRST_ROW + 1
        assert mask.added.shape[3] == N_TOKENS - mask.first


def test_every_key_is_seen_where_nothing_is_hidden() -> None:
    found = Masks(ROWS.shape[1], Shelf()).of(None, chosen_rows(ROWS), INSIDE, causal=False)
    assert found.added is None
    assert found.whole is None
    everything = torch.ones(2, 1, ROWS.shape[1], N_TOKENS, dtype=torch.bool)
    np.testing.assert_allclose(found.share.numpy(), shares(everything), rtol=1e-6)


def test_what_is_added_beside_hiding_is_kept() -> None:
    slope = -torch.arange(N_TOKENS, dtype=torch.float32).flip(0)
    visible = whole_mask(padding=False)
    mask = torch.where(visible, slope, torch.finfo(torch.float32).min).expand(-1, 3, -1, -1)
    found = Masks(ROWS.shape[1], Shelf()).of(mask, chosen_rows(ROWS), INSIDE, causal=True)
    assert found.first == 0
    assert found.added is not None
    assert torch.equal(found.added, mask[:, :, FIRST_ROW:])


@pytest.mark.parametrize("stated", ["nothing", "booleans", "numbers"])
def test_a_mask_that_only_hides_says_what_is_seen(stated: str) -> None:
    visible = whole_mask(padding=True)
    numbers = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    mask = {"nothing": None, "booleans": visible, "numbers": numbers}[stated]
    found = Masks(ROWS.shape[1], Shelf()).of(mask, chosen_rows(ROWS), INSIDE, causal=True)
    assert found.added is not None
    assert found.seen is not None
    assert torch.equal(found.seen, (found.added == 0).float())


def test_a_mask_that_adds_more_does_not() -> None:
    visible = whole_mask(padding=False)
    mask = torch.where(visible, -0.5, torch.finfo(torch.float32).min)
    assert Masks(ROWS.shape[1], Shelf()).of(mask, chosen_rows(ROWS), INSIDE, causal=True).seen is None


def test_layers_with_the_same_mask_share_it() -> None:
    masks, mask = Masks(ROWS.shape[1], Shelf()), whole_mask(padding=True)
    first = masks.of(mask, chosen_rows(ROWS), INSIDE, causal=True)
    assert masks.of(mask, chosen_rows(ROWS), INSIDE, causal=True) is first
    assert masks.of(mask.clone(), chosen_rows(ROWS), INSIDE, causal=True) is not first


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(NotReadableError, match=r"a mask of shape \(2, 11, 11\) for 11 keys is not understood"):
        Masks(4, Shelf()).of(whole_mask(padding=True)[:, 0], chosen_rows(ROWS), INSIDE, causal=True)
    with pytest.raises(NotReadableError, match="for 11 keys"):
        Masks(4, Shelf()).of(whole_mask(padding=True)[..., :9], chosen_rows(ROWS), INSIDE, causal=True)
