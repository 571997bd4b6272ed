"""A run at a prompt and in a notebook: what it is of, its tables for numpy and pandas, and a figure of its heads.

run.to_numpy("PAM_norm").values     # (sample, layer, head)
run.to_pandas("attention")
run.plot_heads("PAM_norm", by="label")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import polars as pl

from foretell.display import Displayed, Facts, from_showing
from foretell.errors import InputError, RunError
from foretell.schema import tables as schema
from foretell.schema.columns import as_pandas
from foretell.storage.commits.part_commit import RunTable
from foretell.storage.stored_tables import StoredTables
from foretell.storage.views.dense_arrays import DenseArray, dense_array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunView"]

_COUNTED = ("dataset", "behaviour", "behavior_label", "reason")
_NUMBERS = tuple(one.name for one in schema.ATTENTION.columns if one.dtype == pl.Float64())
_MOST_PARTS = 1000
"""A notebook's table reads the labels of at most so many files."""


@dataclass(frozen=True, repr=False)
class RunView(Displayed, StoredTables):
    """What a run shows of itself."""

    def facts(self) -> Facts:
        """Return what the manifest says; a run at a URL says where it is, without being asked."""
        known: list[tuple[str, str]] = []
        if self.remote is None:
            try:
                manifest = self.read_manifest()
            except RunError as error:
                return Facts("Run", self.location, [("cannot be read", str(error))])
            job = manifest.job
            known.append(("model", f"{job.get('model', 'unknown')} ({job.get('dtype', 'unknown')})"))
            asked = (("answers", "answers"), ("conversations", "n_conversations"))
            known += [(name, str(job[key])) for name, key in asked if job.get(key) is not None]
            known.append(("state", "finished" if manifest.finished else "unfinished"))
        return Facts("Run", self.location, known)

    def _repr_html_(self) -> str:
        facts = self.facts()
        try:
            columns, rows = self._counted() if self.remote is None else ((), ())
        except (RunError, OSError):
            columns, rows = (), ()
        html: str = from_showing("notebook.displayed").as_html(
            Facts(facts.kind, facts.name, facts.facts, columns, rows)
        )
        return html

    def _counted(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return how many samples each dataset has, from the labels alone."""
        if len(self.names("parts", ".json")) > _MOST_PARTS:
            return (), []
        label = pl.col("behavior_label")
        counted = (
            self.sample_columns(_COUNTED)
            .group_by("dataset", "behaviour")
            .agg(
                pl.len(),
                pl.col("reason").is_null().sum().alias("read"),
                label.count().alias("n"),
                label.mean().alias("rate"),
            )
        )
        columns = ("dataset", "behaviour", "samples", "read", "labelled", "base rate")
        return columns, counted.sort("dataset", "behaviour", nulls_last=True).rows()

    def table_named(self, table: str) -> pl.DataFrame:
        """Return a table by its name.

        Args:
            table: "samples", "attention", "checkpoints", "rows", "tokens", "activity" or "hidden".

        Raises:
            InputError: There is no such table.
        """
        names = get_args(RunTable)
        if table not in names:
            raise InputError(f"there is no table {table!r}: choose among {', '.join(names)}")
        found: pl.DataFrame = self.hidden_states if table == "hidden" else getattr(self, table)
        return found

    def to_pandas(self, table: str = "attention") -> pd.DataFrame:
        """Return a table as a pandas DataFrame, with the columns that docs/reference/tables.md lists.

        Args:
            table: See `table_named`.

        Raises:
            InputError: There is no such table, or pandas or pyarrow is not installed.
        """
        return as_pandas(self.table_named(table))

    def to_numpy(self, column: str = "PAM_norm", *, concept: str | None = None) -> DenseArray:
        """Return one column of numbers as a dense array.

        Args:
            column: A column of the attention table, which gives the axes sample, layer, head; or "activity", with the
                axes sample, layer, answer_position.
            concept: Of the activity, where the run has several.

        Returns:
            `.values`, `.ids` (axis 0) and `.places` (the layers, heads or positions of the others).

        Raises:
            InputError: There is no such column, or several concepts and none is chosen.

        Undefined:
            nan where the table has no row or its number is null.
        """
        if column not in (*_NUMBERS, "activity"):
            raise InputError(f"there is no column of numbers {column!r}: choose among {', '.join(_NUMBERS)}, activity")
        if column != "activity":
            return dense_array(self._read("attention", ["id", "layer", "head", column]), ("layer", "head"), column)
        rows = self.activity
        concepts = rows.get_column("concept").unique().sort().to_list()
        if (concept is None and len(concepts) > 1) or (concept is not None and concept not in concepts):
            raise InputError(f"concept is {concept!r}: choose among {', '.join(map(repr, concepts)) or 'none'}")
        chosen = rows if concept is None else rows.filter(pl.col("concept") == concept)
        return dense_array(chosen, ("layer", "answer_position"), column)

    def plot_heads(self, metric: str = "PAM_norm", *, by: str = "mean", library: str = "matplotlib") -> Any:
        """Draw one number per layer and head: the mean over samples, or its difference between labels.

        Args:
            metric: A column of numbers of the attention table.
            by: "mean", or "label": mean where the behaviour happened minus mean where it did not.
            library: "matplotlib" or "plotly".

        Returns:
            A figure of that library, with one map per dataset.

        Raises:
            InputError: There is no such column or library, the run has no rows, or `by` needs labels it does not have.
        """
        if metric not in _NUMBERS or by not in {"mean", "label"}:
            wrong, known = (metric, _NUMBERS) if metric not in _NUMBERS else (by, ("mean", "label"))
            raise InputError(f"plot_heads: there is no {wrong!r}: choose among {', '.join(known)}")
        rows = self._read("attention", ["id", "dataset", "layer", "head", metric])
        rows = rows.join(self.sample_columns(["id", "behavior_label"]), on="id", how="left")
        value, label = pl.col(metric), pl.col("behavior_label")
        shown = value.mean() if by == "mean" else value.filter(label == 1).mean() - value.filter(label == 0).mean()
        means = rows.group_by("dataset", "layer", "head").agg(shown.alias("value")).sort("dataset", "layer", "head")
        if not means.get_column("value").count():
            what = "no attention" if by == "mean" else "no samples of both labels in any dataset"
            raise InputError(f"plot_heads: the run {self.location} has {what}")
        return from_showing("notebook.plots").plot_heads(means, metric, by=by, library=library)
