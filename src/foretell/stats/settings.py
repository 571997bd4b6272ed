"""The settings of a study."""

from __future__ import annotations

from dataclasses import dataclass

from foretell.errors import InputError
from foretell.schema.tables import SHARES
from foretell.stats.detectors.log_ratios import LogRatios
from foretell.stats.forest.measures import OBJECTIVES, Objective

__all__ = ["MOST_REPEATS", "Settings"]

MOST_REPEATS = 5
"""Repeats of the detectors' folds."""
_SAMPLES_OF_ALL_REPEATS = 5000
_FEWEST_REPEATS = 2


@dataclass(frozen=True)
class Settings:
    """Everything besides the table that determines the results of a study."""

    metrics: tuple[str, ...] = SHARES
    seed: int = 0
    level: float = 0.95
    log_ratios: LogRatios = "centred"
    """Transform of shares for detectors; metrics that are not shares are never transformed."""
    n_permutations: int = 1000
    objectives: tuple[Objective, ...] = OBJECTIVES
    n_trees: int = 200
    forest_folds: int = 3
    forest_rows: int | None = 60_000
    """Maximal number of rows per dataset for forests, drawn at random; None: all, which takes hours for millions.
    Rows of a sample say much the same: 5,000 samples keep twelve rows each, and forests on 200,000 rows take 4 minutes
    longer."""
    detector_folds: int = 5
    detector_repeats: int | None = None
    """Repeats of the folds; None: 5 up to 1,000 samples, and fewer, at least 2, where folds hardly differ."""
    error_rate: float = 0.05
    """Share of studies of noise that say *signal* or *weak signal* of anything, over all datasets and signals."""
    early: bool = True
    """Whether a run's signals are judged after 0, 1, 2, 4, ... tokens as well."""
    early_repeats: int = 2
    """Repeats of the folds for early curves."""
    first_tokens: int | None = None
    """A run's signals are judged in the first so many tokens of each answer (0: before the answer); None: in all."""
    words_auc: float = 0.9
    """Held-out AUC at which the words of the answer so far tell the label by themselves; signals count before that."""
    saplma: bool = False
    """Whether SAPLMA, a network on hidden states, is trained too; it takes minutes."""
    signals: tuple[str, ...] = ()
    """Names of further families of signals."""
    estimators: tuple[str, ...] = ()
    """Names of further estimators on all heads."""
    sum_tolerance: float | None = None
    """Largest deviation of the sum of shares from 1; None: what rounding of the shares explains."""
    source: str = ""
    group: str | None = None
    """Column with the groups; "mapping" if they were given by id, "values" if one per sample; None where all samples
    are independent."""
    stratum: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InputError(f"level is {self.level}: it must be above 0 and below 1")
        if self.sum_tolerance is not None and not 0 <= self.sum_tolerance < 1:
            raise InputError(f"sum_tolerance is {self.sum_tolerance}: it must be at least 0 and below 1")
        for name, least in (
            ("n_trees", 1),
            ("n_permutations", 0),
            ("forest_folds", 2),
            ("forest_rows", 100),
            ("detector_folds", 2),
            ("detector_repeats", 1),
            ("early_repeats", 1),
        ):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least {least}")
        if not 0 < self.error_rate < 0.5:
            raise InputError(f"error_rate is {self.error_rate}: it must be above 0 and below 0.5")
        if not 0.5 < self.words_auc <= 1:
            raise InputError(f"words_auc is {self.words_auc}: it must be above 0.5 and at most 1")
        first = self.first_tokens or 0
        if first < 0 or first.bit_count() > 1:
            raise InputError(
                f"first_tokens is {first}: signals are stored after 0, 1, 2, 4, 8, ... tokens, so choose one of these"
            )
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown:
            raise InputError(f'unknown objective "{unknown[0]}": choose among {", ".join(OBJECTIVES)}')

    def repeats_of(self, n_samples: int) -> int:
        """Return the repeats of the detectors' folds for so many samples."""
        if self.detector_repeats is not None:
            return self.detector_repeats
        enough = -(-_SAMPLES_OF_ALL_REPEATS // max(n_samples, 1))
        return min(max(enough, _FEWEST_REPEATS), MOST_REPEATS)
