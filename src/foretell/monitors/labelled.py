"""The labelled answers of a run, and which of their groups a threshold is found on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from foretell.errors import InputError
from foretell.stats.folds import derived_seed, group_codes
from foretell.storage.runs import Run

__all__ = [
    "Labelled",
    "calibration_samples",
    "group_mixtures",
    "labelled_samples",
    "names_hash",
    "read_answers",
]


@dataclass(frozen=True)
class Labelled:
    """Answers with a label, by id."""

    ids: tuple[str, ...]
    label: Int[np.ndarray, " sample"]
    group: Int[np.ndarray, " sample"]
    """Rank of each sample's group among the sorted names."""
    group_names: tuple[str, ...]
    n_generated: Int[np.ndarray, " sample"]
    behaviour: str | None


def read_answers(samples: pl.DataFrame) -> pl.DataFrame:
    """Return the samples whose answer was read and has tokens."""
    return samples.filter(pl.col("reason").is_null() & (pl.col("n_tokens_generated") > 0))


def labelled_samples(run: Run, behaviour: str | None, known: pl.DataFrame | None = None) -> Labelled:
    """Return the answers of a run that were read and have a label.

    Args:
        run: The run.
        behaviour: A behaviour or a dataset of the run; None: the only behaviour that it has.
        known: Columns id, behavior_label and group that take the place of the run's own.

    Raises:
        InputError: The run is not finished, has no such behaviour or several, or its labels are all alike.
    """
    if not run.finished:
        raise InputError(f"{run.path}: is not finished; call `foretell read` again, which goes on where it stopped")
    samples = run.samples
    if known is not None:
        samples = samples.drop("behavior_label", "group").join(known.unique("id"), on="id", how="left")
    read = read_answers(samples)
    found = read.filter(pl.col("behavior_label").is_not_null())
    if not found.height:
        raise InputError(f"{run.path}: none of its {read.height} answers has a label; call `foretell label` first")
    if behaviour is not None:
        chosen = found.filter((pl.col("behaviour") == behaviour) | (pl.col("dataset") == behaviour))
        if not chosen.height:
            known_names = sorted({*found["behaviour"].drop_nulls(), *found["dataset"]})
            raise InputError(f"{run.path}: has no behaviour or dataset {behaviour!r}, but {', '.join(known_names)}")
        found = chosen
    names = found["behaviour"].drop_nulls().unique().sort().to_list()
    if len(names) > 1:
        raise InputError(f"{run.path}: its labels are of {len(names)} behaviours; choose one: {', '.join(names)}")
    found = found.sort("id")
    label = found["behavior_label"].cast(pl.Int64).to_numpy()
    if len(np.unique(label)) < 2:
        raise InputError(
            f"{run.path}: all {found.height} labelled answers have label {label[0]}; a monitor needs both labels"
        )
    group = found["group"].fill_null(found["id"])
    return Labelled(
        tuple(found["id"]),
        label,
        group_codes(group.to_list()),
        tuple(group.unique().sort()),
        found["n_tokens_generated"].cast(pl.Int64).to_numpy(),
        names[0] if names else None,
    )


def calibration_samples(samples: Labelled, share: float, *, seed: int) -> Bool[np.ndarray, " sample"]:
    """Return which samples are held out for the threshold: a share of the groups of each mixture of labels.

    Args:
        samples: All of them.
        share: Of the groups.
        seed: Random seed; the split does not depend on the order of the samples.
    """
    mixture = group_mixtures(samples)
    generator = np.random.default_rng(derived_seed(seed, "calibration"))
    held = np.zeros(len(mixture), dtype=bool)
    for value in np.unique(mixture):
        members = generator.permutation(np.flatnonzero(mixture == value))
        held[members[: round(share * len(members))]] = True
    return np.asarray(held[samples.group])


def group_mixtures(samples: Labelled) -> Int[np.ndarray, " group"]:
    """Return which labels each group has: 1 only label 0, 2 only label 1, 3 both."""
    n_groups = len(samples.group_names)
    has = [np.bincount(samples.group[samples.label == value], minlength=n_groups) > 0 for value in (0, 1)]
    return np.asarray(has[0] + 2 * has[1])


def names_hash(names: Sequence[str]) -> str:
    """Return a hash of the names of some groups, whatever their order."""
    text = "\n".join(sorted(names)).encode("utf-8", "surrogatepass")
    return sha256(text).hexdigest()
