"""Which heads and directions are tested, and on which groups: never on those that they were chosen or fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from foretell.directions.checked_numbers import distinct_layers, finite_numbers
from foretell.directions.direction import Direction
from foretell.errors import InputError
from foretell.interventions.changing.intervention import DirectionIntervention, Head, HeadIntervention
from foretell.monitors.labelled import Labelled, calibration_samples, names_hash
from foretell.monitors.monitor import Monitor
from foretell.monitors.sparse_choice import chosen_places
from foretell.schema.tables import SEGMENTS

__all__ = [
    "chosen_heads",
    "direction_interventions",
    "head_interventions",
    "held_out_samples",
    "monitor_directions",
]

_SHARE = 0.4
"""Of the groups, that a monitor's threshold is found on by default."""
HeldOut = float | Sequence[str] | None


def held_out_samples(
    samples: Labelled, held_out: HeldOut, monitor: Monitor | None, *, seed: int
) -> Bool[np.ndarray, " sample"]:
    """Return which samples are of groups that are held out.

    Args:
        samples: Labelled answers of a run.
        held_out: A share of the groups, drawn at random, or their names; None: those that the monitor's score was not
            fitted on, or half of all without a monitor.
        monitor: Whose heads are tested.
        seed: Of the draw.

    Raises:
        InputError: A share is not between 0 and 1, a name is unknown, no group is held out or none is left, or it
            cannot be known on which groups the monitor was fitted.
    """
    names = np.array(samples.group_names)
    if isinstance(held_out, str):
        raise InputError(f"held_out must be a share of the groups or a list of their names, not {held_out!r}")
    if held_out is not None and not isinstance(held_out, float | int):
        unknown = sorted(set(held_out) - set(names.tolist()))
        if unknown:
            raise InputError(f"held_out: there is no labelled group {unknown[0]!r} in the run")
        held = np.isin(names, list(held_out))[samples.group]
    elif monitor is not None:
        held = _not_fitted_on(samples, monitor)
    else:
        share = 0.5 if held_out is None else float(held_out)
        if not 0.0 < share < 1.0:
            raise InputError(f"held_out must be between 0 and 1, not {held_out!r}")
        held = calibration_samples(samples, share, seed=seed)
    if not held.any() or held.all():
        which = "no group is held out" if not held.any() else "every group is held out, and none is left to fit on"
        raise InputError(f"{which} (the run has {len(names)} labelled groups)")
    return np.asarray(held)


def _not_fitted_on(samples: Labelled, monitor: Monitor) -> Bool[np.ndarray, " sample"]:
    """Return the samples on which a monitor's threshold was found, by splitting the groups as it did."""
    made = monitor.made_from
    total = made.n_calibration_groups + made.n_training_groups
    for share in (_SHARE, made.n_calibration_groups / max(total, 1)):
        held = calibration_samples(samples, share, seed=made.seed)
        training = np.array(samples.group_names)[np.unique(samples.group[~held])].tolist()
        if names_hash(training) == made.training_groups:
            return held
    raise InputError(
        "it cannot be known which of these groups the monitor was fitted on, because it was made from other labelled "
        "groups: name those that it has not seen (held_out)"
    )


def chosen_heads(
    wanted: int | Iterable[Any] | None,
    monitor: Monitor | None,
    columns: Float[np.ndarray, "sample head column"],
    known: Sequence[Head],
    training: tuple[Bool[np.ndarray, " sample"], np.ndarray],
) -> tuple[Head, ...]:
    """Return the heads to test.

    Args:
        wanted: Heads, or how many of those that predict best on training groups; None: those of the monitor.
        monitor: A monitor.
        columns: Logarithms of the masses of each head.
        known: Layer and head of each.
        training: Which samples are of training groups, and the labels of all.

    Raises:
        InputError: A head is no pair of whole numbers, or heads are to be found and the run has no attention.
    """
    if wanted is None:
        wanted = 4 if monitor is None else monitor.columns.heads
    if isinstance(wanted, int):
        if wanted < 0:
            raise InputError(f"heads must be a list, or a number of heads from 0 on, not {wanted}")
        if wanted and not known:
            raise InputError("the run has no attention to choose heads by: name them")
        here, label = training
        return tuple(known[place] for place in chosen_places(columns[here], label[here], wanted)) if wanted else ()
    found = []
    for one in wanted:
        pair = tuple(one) if isinstance(one, list | tuple | np.ndarray) else ()
        if len(pair) != 2 or not all(isinstance(number, int | np.integer) for number in pair):
            raise InputError(f"a head is its layer and its number, such as (3, 5), not {one!r}")
        found.append((int(pair[0]), int(pair[1])))
    return tuple(dict.fromkeys(found))


def head_interventions(heads: Sequence[Head], segments: Sequence[str], *, together: bool) -> list[HeadIntervention]:
    """Return what is done to heads: each ablated, each without each segment, and all at once.

    Raises:
        InputError: There is no such segment, or no head that it could be masked for.
    """
    if isinstance(segments, str) or set(segments) - set(SEGMENTS):
        raise InputError(f"segments must be some of {', '.join(SEGMENTS)}, not {segments!r}")
    if segments and not heads:
        raise InputError("segments are masked for heads, and there are none: give heads")
    sets = [(head,) for head in heads] + ([tuple(heads)] if together and len(heads) > 1 else [])
    done: list[str | None] = [None, *dict.fromkeys(segments)]
    return [HeadIntervention(one, segment) for segment in done for one in sets]


def direction_interventions(
    directions: Sequence[Direction], layers: Sequence[int], doses: Sequence[float]
) -> list[DirectionIntervention]:
    """Return what is done along directions: each removed at each layer, and added in each dose.

    Raises:
        InputError: There are directions and no layers or the other way round, a dose is 0, two directions have one
            concept, or a direction has no vector at a layer.
    """
    chosen, added = distinct_layers(layers), finite_numbers(doses, "doses")
    concepts = [one.concept for one in directions]
    if len(set(concepts)) < len(concepts):
        raise InputError("two directions have the same concept: give each its own name")
    if bool(concepts) != bool(chosen) or (added and not concepts):
        raise InputError("directions need layers at which they are removed or added, and layers and doses a direction")
    if 0.0 in added:
        raise InputError("a dose of 0 adds nothing: give doses such as -4 and 4")
    found = []
    for one in directions:
        for layer in chosen:
            if not 0 <= layer < one.n_layers:
                raise InputError(f"there is no layer {layer}; the model has layers 0 to {one.n_layers - 1}")
            if one.reasons[layer]:
                raise InputError(f'"{one.concept}" has no vector at layer {layer}: {one.reasons[layer]}')
            vector = one.vectors[layer].astype(np.float64)
            found.append(DirectionIntervention(one.concept, layer, vector, vector))
            for dose in added:
                length = dose * float(one.standard_deviation[layer])
                found.append(DirectionIntervention(one.concept, layer, vector, vector, dose, length))
    return found


def monitor_directions(monitor: Monitor | None) -> list[DirectionIntervention]:
    """Return removals of the directions of a monitor's activities, and of its weights of hidden states."""
    if monitor is None:
        return []
    columns, found = monitor.columns, []
    for place, (concept, layer) in enumerate(columns.activity):
        vector = monitor.directions.vectors[place].astype(np.float64)
        found.append(DirectionIntervention(concept, layer, vector, vector))
    for layer in columns.layers:
        kind = list(columns.sizes).index(f"hidden states of layer {layer}")
        weight = monitor.weight[columns.blocks == kind]
        size = float(np.linalg.norm(weight))
        if size > 0.0:
            found.append(DirectionIntervention("the monitor's weights", layer, weight / size, weight / size))
    return found
