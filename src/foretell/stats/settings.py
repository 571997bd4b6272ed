"""The settings of a study."""

from __future__ import annotations

from dataclasses import dataclass

from foretell.errors import InputError
from foretell.schema.tables import SHARES
from foretell.stats.detectors.log_ratios import LogRatios
from foretell.stats.forest.measures import OBJECTIVES, Objective

__all__ = ["Settings"]


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
    forest_rows: int | None = 200_000
    """Maximal number of rows per dataset for forests, drawn at random; None: all, which takes hours for millions."""
    detector_folds: int = 5
    detector_repeats: int = 5
    estimators: tuple[str, ...] = ()
    """Names of further estimators on all heads."""
    source: str = ""
    group: str | None = None
    """Column with the groups; "mapping" if they were given by id; None where all samples are independent."""
    stratum: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InputError(f"level is {self.level}: it must be above 0 and below 1")
        for name, least in (
            ("n_trees", 1),
            ("n_permutations", 0),
            ("forest_folds", 2),
            ("forest_rows", 100),
            ("detector_folds", 2),
            ("detector_repeats", 1),
        ):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least {least}")
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown:
            raise InputError(f'unknown objective "{unknown[0]}": choose among {", ".join(OBJECTIVES)}')
