"""What rows see, whatever a mask looks like: what is added to scores, and each segment's share of the keys seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.errors import NotReadableError
from foretell.reading.signals.masks import Mask, QueryRows

N_TOKENS, FIRST_ROW = 11, 7
CODES = torch.tensor([[3, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4], [-1, -1, 3, 0, 1, 2, 3, 4, 4, 4, 4]])
INSIDE = (CODES[:, None] == torch.arange(5)[:, None]).float()
INDICATORS = torch.cat([INSIDE, (CODES < 0).float()[:, None]], dim=1)


ROWS = torch.arange(FIRST_ROW, N_TOKENS).repeat(2, 1)
SCATTERED = torch.tensor([[7, 8, 10], [7, 9, 10]])


def visible_to(
    rows: torch.Tensor, mask: torch.Tensor | None, *, causal: bool = True, most_bytes: int = 1 << 20
) -> Mask:
    return QueryRows(rows, most_bytes=most_bytes).visible(mask, INDICATORS, causal=causal)


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
    found = visible_to(rows, mask, causal=True)
    expected = seen_by(rows, padding=padding)
    whole = found.whole
    assert whole is not None
    assert torch.equal(whole == 0, expected.expand(whole.shape))
    assert torch.isfinite(whole).all()
    np.testing.assert_allclose(found.share.numpy(), shares(expected), rtol=1e-6)


def test_only_the_last_keys_are_touched_where_no_padding_is() -> None:
    unsaid = visible_to(ROWS, None)
    said = visible_to(ROWS, whole_mask(padding=False))
    for mask in (unsaid, said):
        assert mask.added is not None
        assert mask.first == FIRST_ROW + 1
        assert mask.added.shape[3] == N_TOKENS - mask.first


def test_every_key_is_seen_where_nothing_is_hidden() -> None:
    found = visible_to(ROWS, None, causal=False)
    assert found.added is None
    assert found.whole is None
    everything = torch.ones(2, 1, ROWS.shape[1], N_TOKENS, dtype=torch.bool)
    np.testing.assert_allclose(found.share.numpy(), shares(everything), rtol=1e-6)


def test_what_is_added_beside_hiding_is_kept() -> None:
    slope = -torch.arange(N_TOKENS, dtype=torch.float32).flip(0)
    visible = whole_mask(padding=False)
    mask = torch.where(visible, slope, torch.finfo(torch.float32).min).expand(-1, 3, -1, -1)
    found = visible_to(ROWS, mask, causal=True)
    assert found.first == 0
    assert found.added is not None
    assert torch.equal(found.added, mask[:, :, FIRST_ROW:])


def test_layers_with_the_same_mask_share_it() -> None:
    rows, mask = QueryRows(ROWS, most_bytes=1 << 20), whole_mask(padding=True)
    first = rows.visible(mask, INDICATORS, causal=True)
    assert rows.visible(mask, INDICATORS, causal=True) is first
    assert rows.visible(mask.clone(), INDICATORS, causal=True) is not first


def test_masks_that_are_too_large_are_not_kept() -> None:
    rows, mask = QueryRows(ROWS, most_bytes=16), whole_mask(padding=True)
    first = rows.visible(mask, INDICATORS, causal=True)
    again = rows.visible(mask, INDICATORS, causal=True)
    assert again is not first
    assert first.added is not None
    assert again.added is not None
    assert torch.equal(first.added, again.added)


def test_parts_of_rows_see_what_the_rows_see() -> None:
    whole = QueryRows(SCATTERED, most_bytes=1 << 20)
    mask = whole_mask(padding=True)
    expected = whole.visible(mask, INDICATORS, causal=True).whole
    parts = [whole.part(first, first + 2).visible(mask, INDICATORS, causal=True).whole for first in (0, 2)]
    assert expected is not None
    assert torch.equal(torch.cat([part for part in parts if part is not None], dim=2), expected)
    assert whole.part(0, 2) is whole.part(0, 2)
    assert whole.part(0, 3) is whole


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(NotReadableError, match=r"a mask of shape \(2, 11, 11\) for 11 keys is not understood"):
        visible_to(ROWS, whole_mask(padding=True)[:, 0])
    with pytest.raises(NotReadableError, match="for 11 keys"):
        visible_to(ROWS, whole_mask(padding=True)[..., :9])
