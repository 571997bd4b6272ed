"""The result of `foretell.compare`: tables, notes and figures of what differs between two sides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from foretell.display import Displayed, Facts, from_showing
from foretell.errors import InputError
from foretell.schema.columns import as_pandas
from foretell.storage.export import write_results

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison"]

_COLUMNS = ("dataset", "kind", "what", "first", "second", "difference", "lower", "upper", "p_adjusted")
_CLEAR = 0.05


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Displayed):
    """Differences between two sides, first minus second."""

    names: tuple[str, str]
    """What the two sides are called."""
    table: pl.DataFrame
    """One row per data set and comparison (`foretell.schema.tables.COMPARISON`)."""
    heads: pl.DataFrame
    """One row per data set, kind, layer, head and metric (`foretell.schema.tables.COMPARISON_HEADS`)."""
    notes: tuple[str, ...]
    """What was left out, and whether samples were paired."""
    level: float
    n_permutations: int
    seed: int

    def facts(self) -> Facts:
        """Return how much differs, and the table."""
        clear = self.table.filter(pl.col("p_adjusted") < _CLEAR).height
        paired = sum(self.table.get_column("paired"))
        known = [
            ("first", self.names[0]),
            ("second", self.names[1]),
            ("comparisons", f"{self.table.height}, of them {paired} of the same samples"),
            ("differences", f"{clear} with p_adjusted below {_CLEAR:g}, one error rate over all"),
        ]
        rows = self.table.select(_COLUMNS).rows()
        return Facts("Comparison", "first minus second", known, _COLUMNS, rows, "; ".join(self.notes))

    def plot(self, name: str = "differences", *, library: str = "matplotlib") -> Any:
        """Draw the differences with their intervals, or those of single heads.

        Args:
            name: "differences"; "attention" or "head AUC": maps of layer and head.
            library: "matplotlib" or "plotly".

        Returns:
            A figure of that library.

        Raises:
            InputError: There is no such figure or library, or heads were not compared.
        """
        return from_showing("notebook.comparison_figures").plot_comparison(self, name, library=library)

    def to_pandas(self, table: str = "table") -> pd.DataFrame:
        """Return "table" or "heads" as a pandas DataFrame.

        Raises:
            InputError: There is no such table, or pandas or pyarrow is not installed.
        """
        if table not in {"table", "heads"}:
            raise InputError(f"there is no table {table!r}: choose among table, heads")
        return as_pandas(getattr(self, table))

    def to_json(self) -> str:
        """Return names, settings, notes and the table as JSON text; undefined is null."""
        content = {
            "first": self.names[0],
            "second": self.names[1],
            "settings": {"level": self.level, "n_permutations": self.n_permutations, "seed": self.seed},
            "notes": list(self.notes),
            "comparison": self.table.to_dicts(),
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def write(self, folder: Path | str) -> list[Path]:
        """Write `comparison.parquet`, `comparison_heads.parquet` and `comparison.json`, each atomically.

        Args:
            folder: Created if it does not exist.

        Returns:
            The files.
        """
        tables = {"comparison": self.table, "comparison_heads": self.heads}
        return write_results(folder, tables, {"comparison.json": self.to_json()})
