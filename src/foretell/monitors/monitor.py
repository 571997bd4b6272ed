"""A monitor: a score of an answer so far, a probability, and an alarm with a guarantee.

monitor = foretell.fit_monitor(run)
monitor.save("monitor.safetensors")
monitor = foretell.Monitor.load("monitor.safetensors")
monitor.apply(other_run)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from foretell.display import Displayed, Facts
from foretell.errors import InputError
from foretell.monitors.alarm_threshold import Threshold
from foretell.monitors.baseline_monitor import BestBaseline
from foretell.monitors.labelled import read_answers
from foretell.monitors.made_from import MadeFrom, check_run
from foretell.monitors.monitor_columns import Columns, Numbers, linear_score
from foretell.monitors.recall import Recall
from foretell.monitors.reference import Reference
from foretell.monitors.run_columns import Moments, RunColumns, ScoredAt, is_moment, moments
from foretell.storage.runs import Run

if TYPE_CHECKING:
    from foretell.reading.capture.results import Capture
    from foretell.reading.models.load import Model

__all__ = ["Monitor", "ScoredRun", "StoredDirections"]


@dataclass(frozen=True)
class StoredDirections:
    """The directions of a monitor's activities, as far as it needs them."""

    vectors: Float[np.ndarray, "place width"]
    mean: Float[np.ndarray, " place"]
    standard_deviation: Float[np.ndarray, " place"]


@dataclass(frozen=True)
class ScoredRun:
    """Answers of a run at the monitor's moments."""

    rows: Moments
    matrix: Float[np.ndarray, "row column"]
    score: Float[np.ndarray, " row"]


@dataclass(frozen=True, repr=False)
class Monitor(Displayed):
    """A fitted monitor; `foretell.fit_monitor` makes one.

    score = intercept + (columns - centre) . weight, in log-odds; higher is more of the behaviour. The probability is
    that of label 1 as held-out training groups had it. An alarm is a score above `threshold.score` at one of the
    moments that `scored_at` names; what is guaranteed of alarms: `foretell.monitors.alarm_threshold`.
    """

    columns: Columns
    centre: Float[np.ndarray, " column"]
    weight: Float[np.ndarray, " column"]
    intercept: float
    slope: float
    """Of the log-odds of the probability, per unit of score; above 0."""
    shift: float
    scored_at: ScoredAt
    threshold: Threshold
    recall: Recall
    made_from: MadeFrom
    directions: StoredDirections
    reference: Reference | None = None
    """What is kept of the answers it was made from; None in files of before there was such a thing."""
    baseline: BestBaseline | None = None
    """What the best baseline catches at the same false-positive rate; None without a threshold, where it was not asked
    for, or in such files."""

    def scores(self, numbers: Numbers) -> Float[np.ndarray, " row"]:
        """Return the score of answers so far; nan where a number is missing."""
        return linear_score(self.columns.matrix(numbers), self.centre, self.weight, self.intercept)

    def probability(self, score: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Return the probability of label 1 that a score stands for, calibrated on held-out training groups."""
        return np.asarray(expit(self.slope * score + self.shift), dtype=np.float64)

    def alarms(
        self, score: Float[np.ndarray, " row"], n_generated: Int[np.ndarray, " row"], *, ended: Bool[np.ndarray, " row"]
    ) -> Bool[np.ndarray, " row"]:
        """Return where a score is an alarm: above the threshold, and at one of the moments it was calibrated for."""
        if self.threshold.score is None:
            return np.zeros(len(score), dtype=bool)
        moment = is_moment(self.scored_at, n_generated, ended=ended)
        # nan is above nothing
        return np.asarray(moment & (score > self.threshold.score))

    def facts(self) -> Facts:
        """Return what it looks at, what it was made from and what it guarantees."""
        from foretell.monitors.described import described_facts

        return Facts("Monitor", self.made_from.behaviour or "", described_facts(self))

    def plot(self, name: str = "caught", *, library: str = "matplotlib") -> Any:
        """Draw what the monitor catches and when, or what it looks at.

        Args:
            name: "caught" (share of positive calibration answers with an alarm, by tokens) or "heads" (which it reads).
            library: "matplotlib" or "plotly".

        Returns:
            A figure of that library.

        Raises:
            InputError: There is no such figure or library, or nothing to draw.
        """
        from foretell.monitors.described import figures
        from foretell.showing.notebook.plots import plot_named

        return plot_named(figures(self), name, "a monitor", library=library)

    def apply(self, run: Run | Path | str) -> pl.DataFrame:
        """Score the answers of a run at the monitor's moments.

        Args:
            run: A run of the model that the monitor was made from, or its folder; it needs no labels.

        Returns:
            Columns id, n_generated, score, probability, alarm; one row per answer and moment, in order. Score and
            probability are null where a number of the run is missing, and alarm where the monitor has no threshold.

        Raises:
            InputError: The run is of another model, chat template or precision, or lacks a signal that the monitor
                looks at.
        """
        from foretell.storage.runs import open_run

        opened = run if isinstance(run, Run) else open_run(run)
        check_run(self.made_from, opened)
        return self.applied(opened)

    def applied(self, run: Run) -> pl.DataFrame:
        """Return what `apply` does, whatever the run is of."""
        samples = read_answers(run.samples)
        found = self.scored(run, samples)
        rows, score, ids = found.rows, found.score, samples.get_column("id")
        alarm = self.alarms(score, rows.n_generated, ended=rows.is_end)
        frame = pl.DataFrame(
            {
                "id": ids.gather(rows.sample),
                "n_generated": pl.Series(rows.n_generated, dtype=pl.Int32),
                "score": score,
                "probability": self.probability(score),
                "alarm": pl.Series(alarm, dtype=pl.Boolean),
            }
        )
        known = pl.col("alarm") if self.threshold.score is not None else pl.lit(None, dtype=pl.Boolean)
        return frame.with_columns(pl.col("score", "probability").fill_nan(None), alarm=known)

    def scored(self, run: Run, samples: pl.DataFrame) -> ScoredRun:
        """Return columns and scores of answers of a run, whatever the run is of.

        Args:
            run: The run.
            samples: Of `read_answers`.

        Raises:
            InputError: The run lacks hidden states that the monitor looks at, or they have another width.
        """
        ids, lengths = samples.get_column("id").to_list(), samples.get_column("n_tokens_generated").to_numpy()
        rows = moments(lengths.astype(np.int64), self.scored_at)
        matrix = self.columns.matrix(RunColumns(run, ids, rows, self.scored_at).numbers(self.columns))
        if len(ids) and matrix.shape[1] != len(self.weight):
            raise InputError(f"{run.path}: its hidden states have another width than those the monitor was made from")
        return ScoredRun(rows, matrix, linear_score(matrix, self.centre, self.weight, self.intercept))

    @cached_property
    def listen_options(self) -> dict[str, Any]:
        """What `foretell.listen` has to be asked for: `listen(model, segments, **monitor.listen_options)`."""
        columns = self.columns
        return {
            "layers": columns.attention_layers,
            "hidden": list(columns.state_layers),
            "logprob": columns.confidence,
        }

    def score(self, capture: Capture) -> Float[np.ndarray, "sample token"]:
        """Return the score of every answer after each of its tokens so far, read in a loop of one's own.

        Args:
            capture: Of `foretell.listen(model, segments, **monitor.listen_options)`; only tokens that count are scored.

        Returns:
            `(sample, token)`, token k - 1 after k tokens; nan beyond an answer.

        Raises:
            InputError: The capture lacks something that the monitor looks at.
        """
        from foretell.monitors.live.live_columns import LiveColumns

        return LiveColumns(self, len(capture.n_generated)).scored(capture)

    def check_model(self, model: Model) -> None:
        """Refuse a model whose answers the monitor was not made for.

        Raises:
            InputError: Other weights, another number of layers, another chat template, or another precision.
        """
        from foretell.monitors.made_from import check_model

        check_model(self.made_from, model)

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the monitor as one safetensors file with JSON and a checksum of every byte, atomically.

        Raises:
            InputError: The file exists and `overwrite` is not set, or nothing can be written there.
        """
        from foretell.monitors.monitor_file import save

        save(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: Path | str) -> Monitor:
        """Return the monitor that `save` wrote, bit for bit. Nothing in the file is ever executed.

        Raises:
            InputError: There is no such file, it holds no monitor, or a byte of it was changed.
        """
        from foretell.monitors.monitor_file import load

        return load(path)
