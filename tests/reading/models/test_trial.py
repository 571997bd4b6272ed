"""What a trial's outcome is remembered under: everything that it depends on, also what was changed in place."""

from __future__ import annotations

import torch

from foretell.reading.models.trial import identity_of
from tests.reading.tiny import tiny_model


def test_a_model_is_the_same_until_its_configuration_changes() -> None:
    model = tiny_model().model
    first = identity_of(model)
    assert identity_of(model) == first
    assert identity_of(tiny_model().model) == first
    model.config.head_dim = 3
    changed = identity_of(model)
    assert changed != first
    model.config.rope_parameters["rope_theta"] = 5.0
    assert identity_of(model) not in (first, changed)


def test_another_type_of_weights_is_another_model() -> None:
    first = identity_of(tiny_model().model)
    assert identity_of(tiny_model(dtype=torch.bfloat16).model) != first
