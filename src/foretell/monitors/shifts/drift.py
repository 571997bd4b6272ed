"""Does a new batch of answers look like what a monitor was made from? It needs no labels.

found = foretell.drift(monitor, "new-run")
found.p_value, found.drifted
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from foretell.monitors.monitor import Monitor
from foretell.monitors.reference import drawn_answers
from foretell.monitors.shifts.tried_run import NO_REFERENCE, TriedRun, check_allowed, tried_run
from foretell.monitors.shifts.two_samples import compared
from foretell.schema.tables import DRIFT, conform, empty
from foretell.stats.folds import derived_seed, group_codes
from foretell.storage.runs import Run, open_run

__all__ = ["Drift", "drift", "drift_of", "drift_sentence"]

_MOST = 1000
"""Most groups of a batch that are compared."""
_FEWEST = 5
"""Fewest groups on either side: with fewer, no difference is significant, or next to none."""


@dataclass(frozen=True)
class Drift:
    """How a batch of answers differs from those a monitor was made from."""

    p_value: float | None
    """Probability of so large a difference in any number where there is none; None where it is undefined."""
    distance: float | None
    """Effect size: the largest distance of two distribution functions, 0 (alike) to 1 (nothing in common)."""
    columns: pl.DataFrame
    """The table `drift`: every number that was compared, the most different first."""
    n_groups: int
    """Groups of the batch that were compared, one answer each."""
    n_seen: int
    """Groups left out because the monitor was made from them."""
    n_reference_groups: int
    reason: str | None
    """Why it is undefined."""

    @property
    def drifted(self) -> list[str]:
        """Names of the numbers that differ (adjusted p-value of at most 0.05), the most different first."""
        return self.columns.filter(pl.col("p_value") <= 0.05).get_column("column").to_list()


def drift(
    monitor: Monitor,
    run: Run | Path | str,
    *,
    behaviour: str | None = None,
    allow: Collection[str] = (),
    n_permutations: int = 999,
    seed: int = 0,
) -> Drift:
    """Compare the answers of a run with those that a monitor's threshold was found on; it needs no labels.

    Compared are the monitor's own numbers at the end of an answer (masses of its heads, principal components of its
    hidden states, activity, log-probability), the number of tokens, and the highest score. Of each group one answer is
    drawn by a hash of its id, and whole groups are exchanged between both sides, so the p-value is valid for groups of
    any size: it is at most 0.05 in no more than 5 % of batches that are drawn as the calibration groups were. Where the
    run has labels, only labelled answers are compared, because the monitor was made from such.

    No drift is no proof that the guarantee holds: labels can change where these numbers do not. Drift is no proof that
    it breaks; `foretell.shift` says so, with labels.

    Args:
        monitor: A fitted monitor.
        run: A run, or its folder.
        behaviour: Which behaviour, or dataset, of the run; None: the monitor's.
        allow: "weights", "template", "precision": what may differ from the monitor's model.
        n_permutations: Random exchanges; the smallest p-value is 1 / (n_permutations + 1).
        seed: Random seed.

    Raises:
        InputError: The run is of another model and that is not allowed, or has none of the monitor's numbers.

    Undefined:
        None with a reason where the monitor keeps nothing to compare with, or fewer than 5 groups are new.

    Source:
        Two-sample Kolmogorov-Smirnov distances, with the permutation max-statistic of Westfall and Young (1993).

    Example:
        >>> import foretell
        >>> foretell.drift(foretell.Monitor.load("m.safetensors"), "new-run").p_value  # doctest: +SKIP
    """
    check_allowed(allow)
    opened = run if isinstance(run, Run) else open_run(run)
    tried = tried_run(monitor, opened, behaviour=behaviour, allow=allow)
    return drift_of(monitor, tried, n_permutations=n_permutations, seed=seed)


def drift_of(monitor: Monitor, tried: TriedRun, *, n_permutations: int, seed: int) -> Drift:
    """Return what `drift` does, of answers that were scored."""
    reference = monitor.reference
    if reference is None or tried.profile is None:
        return Drift(None, None, empty(DRIFT), 0, 0, 0, NO_REFERENCE)
    samples = tried.samples
    has_label = samples.get_column("behavior_label").is_not_null()
    chosen = (has_label if has_label.any() else ~has_label).to_numpy()
    is_seen = samples.get_column("is_seen").to_numpy()
    n_seen = samples.filter(chosen & is_seen).get_column("group").n_unique()
    new = np.flatnonzero(chosen & ~is_seen)
    names = samples.select("id", "group")[new]
    drawn = new[drawn_answers(names["id"].to_list(), group_codes(names["group"].to_list()), most=_MOST)]
    n_reference = len(reference.values)
    if min(len(drawn), n_reference) < _FEWEST:
        reason = f"{len(drawn)} new groups and {n_reference} of the monitor; {_FEWEST} of each are needed"
        return Drift(None, None, empty(DRIFT), len(drawn), n_seen, n_reference, reason)
    seed = derived_seed(seed, "drift")
    found = compared(reference.values, tried.profile[drawn], n_permutations=n_permutations, seed=seed)
    frame = pl.DataFrame(
        {
            "column": reference.names,
            "distance": found.distance,
            "probability_above": found.exceeds,
            "p_value": found.p_values,
        }
    )
    table = conform(frame.sort("distance", descending=True, maintain_order=True), DRIFT)
    return Drift(found.p_value, float(found.distance.max()), table, len(drawn), n_seen, n_reference, None)


def drift_sentence(found: Drift) -> str:
    """Return what was found, in a sentence."""
    if found.p_value is None:
        return f"Drift: undefined: {found.reason}."
    seen = f"; {found.n_seen} that it was made from are left out" if found.n_seen else ""
    groups = f"{found.n_groups} new groups beside {found.n_reference_groups} of the monitor{seen}"
    names = ", ".join(found.drifted[:3]) + (f" and {len(found.drifted) - 3} more" if len(found.drifted) > 3 else "")
    what = f"answers differ from those the monitor was made from in {names}" if names else "no difference was found"
    return f"Drift: {what} (largest distance {found.distance:.2f}, p = {found.p_value:.2g}; {groups})."
