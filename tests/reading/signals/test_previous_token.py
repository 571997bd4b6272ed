"""The weight of each row on the token before it, against whole eager attention matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.errors import InputError
from foretell.reading.capture.listen import listen
from tests.reading import by_hand
from tests.reading.tiny import tiny_model

LENGTHS = ((11, 9), (6, 3), (8, 7))


def by_eager_attention(kind: str, given: by_hand.Text) -> np.ndarray:
    """`(sample, layer, head, row)`, nan beyond a sample's rows."""
    model = tiny_model(kind, attention="eager").model
    with torch.no_grad():
        attentions = model(**given.inputs, output_attentions=True, use_cache=False).attentions
    weights = torch.stack(attentions, dim=1).float().numpy()
    n_rows = (given.segments == 4).sum(1)
    found = np.full((*weights.shape[:3], int(n_rows.max())), np.nan)
    for sample, codes in enumerate(given.segments):
        for row, column in enumerate(np.flatnonzero(codes == 4)):
            found[sample, :, :, row] = weights[sample, :, :, column, column - 1]
    return found


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["llama", "gemma2", "gemma3_text", "gpt_neox", "mistral", "bloom"])
def test_it_is_the_weight_next_to_the_diagonal(kind: str, side: str, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS, side=side)
    model = tiny_model(kind)
    with torch.no_grad(), listen(model, given.segments, previous_token=True) as capture:
        model.model(**given.inputs)
    np.testing.assert_allclose(capture.row_previous_token, by_eager_attention(kind, given), atol=1e-5)


def test_chunks_and_batches_change_nothing(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((300, 60), (250, 80)))
    model = tiny_model()
    with torch.no_grad(), listen(model, given.segments, previous_token=True, chunk_mib=1) as capture:
        model.model(**given.inputs)
    for sample, n_rows in enumerate((60, 80)):
        alone = given.alone(sample)
        with torch.no_grad(), listen(model, alone.segments, previous_token=True) as single:
            model.model(**alone.inputs)
        np.testing.assert_allclose(
            capture.row_previous_token[sample, :, :, :n_rows], single.row_previous_token[0], atol=1e-5
        )


def test_a_first_token_has_none_before_it(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((4, 5),))
    given.segments[:] = 4
    model = tiny_model()
    with torch.no_grad(), listen(model, given.segments, previous_token=True) as capture:
        model.model(**given.inputs)
    assert np.isnan(capture.row_previous_token[..., 0]).all()
    assert np.isfinite(capture.row_previous_token[..., 1:]).all()


def test_it_is_undefined_unless_asked_for_and_refused_without_rows(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert np.isnan(capture.row_previous_token).all()
    with torch.no_grad(), listen(model, given.segments, previous_token=True, rows=False) as added:
        model.model(**given.inputs)
    with pytest.raises(InputError, match="row_previous_token: single rows were not kept; listen with rows=True"):
        _ = added.row_previous_token
