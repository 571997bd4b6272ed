"""A study at a prompt and in a notebook: its samples and verdicts as far as they are computed, and its figures.

study.plot()            # what each signal tells of each behaviour
study.plot("early", library="plotly")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from foretell.display import Displayed, Facts, from_showing
from foretell.errors import InputError
from foretell.schema.columns import as_pandas
from foretell.stats.settings import Settings
from foretell.stats.table.joined import StudyTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLE_NAMES", "StudyView"]

TABLE_NAMES = (
    "association",
    "roc",
    "roc_points",
    "thresholds",
    "forest",
    "forest_points",
    "importances",
    "detectors",
    "reliability",
    "held_out_scores",
    "transfer",
    "early",
    "early_relative",
    "told_by",
    "hidden_layers",
    "verdicts",
)
"""Tables of a study, in the order of the report."""

_COLUMNS = ("dataset", "signal", "verdict", "auc", "increment")


class StudyView(Displayed):
    """What a study shows of itself; only `plot` and `to_pandas` compute anything."""

    table: StudyTable
    settings: Settings

    def facts(self) -> Facts:
        """Return samples and base rates, and the verdicts if they are computed."""
        samples, ledger = self.table.samples, self.table.ledger
        groups = (
            samples.group_by("dataset").agg(pl.len(), pl.col("behavior_label").mean().alias("rate")).sort("dataset")
        )
        known = [
            ("samples", f"{samples.height:,} in {samples.get_column('group').n_unique():,} groups"),
            ("datasets", ", ".join(f"{name} ({n:,}, base rate {rate:.2f})" for name, n, rate in groups.rows())),
            ("metrics", ", ".join(self.table.metrics)),
            ("rows", f"{ledger.n_kept:,} kept of {ledger.n_read:,}"),
            ("seed", str(self.settings.seed)),
        ]
        name, verdicts = self.settings.source or "a table", vars(self).get("verdicts")
        if verdicts is None:
            return Facts("Study", name, [*known, ("statistics", "not computed yet: study.compute(), or on first use")])
        counts = verdicts.get_column("verdict").value_counts(sort=True).rows()
        known.append(("verdicts", ", ".join(f"{verdict}: {n}" for verdict, n in counts)))
        return Facts("Study", name, known, _COLUMNS, verdicts.select(_COLUMNS).rows())

    def plot(self, name: str | None = None, *, library: str = "matplotlib") -> Any:
        """Draw one figure; what it needs is computed first.

        Args:
            name: A figure of the report, such as "early", "heads", "roc", "forest", "importances", "detectors" or
                "reliability"; None: "overview", what each signal tells of each behaviour beside the baselines.
            library: "matplotlib" or "plotly".

        Returns:
            A figure of that library, which shows itself in a notebook.

        Raises:
            InputError: The study has no such figure (the message lists those it has), or there is no such library.

        Example:
            >>> import foretell
            >>> rows = {"id": ["a", "b"], "dataset": "x", "layer": 0, "head": 0, "score": [0.1, 0.9]}
            >>> table = pl.DataFrame({**rows, "behavior_label": [0, 1]})
            >>> found = foretell.study(table, metrics=["score"], n_permutations=0, n_trees=5)
            >>> type(found.plot("heads", library="plotly")).__module__
            'plotly.graph_objs._figure'
        """
        return from_showing("notebook.plots").plot_study(self, name, library=library)

    def to_pandas(self, table: str = "verdicts") -> pd.DataFrame:
        """Return a table as a pandas DataFrame, with the columns that docs/reference/tables.md lists.

        Args:
            table: Name of the table, such as "verdicts", "association" or "detectors".

        Raises:
            InputError: There is no such table, or pandas or pyarrow is not installed.
        """
        if table not in TABLE_NAMES:
            raise InputError(f"there is no table {table!r}: choose among {', '.join(TABLE_NAMES)}")
        return as_pandas(getattr(self, table))
