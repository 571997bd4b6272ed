"""The score of a monitor: sparse columns, a ridge model of them, and the probability that its log-odds stand for.

fitted = fit_score(source, label, group, settings)
fitted.columns, fitted.centre, fitted.weight, fitted.intercept, fitted.slope, fitted.shift
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logit

from foretell.errors import InputError
from foretell.jobs.progress_bar import progress_bar
from foretell.monitors.monitor_columns import Columns
from foretell.monitors.run_columns import RunColumns, is_moment
from foretell.monitors.sparse_choice import chosen_layers_of_states, chosen_places
from foretell.stats.detectors.features import column_means
from foretell.stats.detectors.learners import STRENGTHS, Linear, LinearPredictor
from foretell.stats.detectors.logistic import newton
from foretell.stats.detectors.stages import Training
from foretell.stats.folds import derived_seed, grouped_folds
from foretell.stats.signals.activity_so_far import ACTIVITY
from foretell.stats.signals.answer_tokens_so_far import CONFIDENCE
from foretell.stats.signals.attention_so_far import ATTENTION
from foretell.stats.signals.hidden_so_far import HIDDEN_STATES
from foretell.stats.signals.inner_products import gram, gram_factor

__all__ = ["Choice", "FittedScore", "fit_score"]

_FOLDS = 5
_ROUNDING = 1e-3
"""Relative distance of two numbers of half precision."""
_PLATT_PENALTY = 1e3
"""Inverse penalty of the two numbers that turn scores into probabilities."""


@dataclass(frozen=True)
class Choice:
    """What a monitor may look at."""

    signals: tuple[str, ...]
    """Families, of `foretell.stats.signals.run_signals.FAMILIES`."""
    max_heads: int
    max_layers: int
    concepts: tuple[str, ...]
    """Concepts of the activity."""
    state_dtype: str
    seed: int


@dataclass(frozen=True)
class FittedScore:
    """score = intercept + (columns - centre) . weight; probability = expit(slope * score + shift)."""

    columns: Columns
    centre: Float[np.ndarray, " column"]
    weight: Float[np.ndarray, " column"]
    intercept: float
    slope: float
    shift: float
    rows: Int[np.ndarray, " row"]
    """The rows that it was fitted on."""
    held_out: Float[np.ndarray, " row"]
    """Score of each of them, by models that did not see its group."""


def fit_score(
    source: RunColumns,
    label: Int[np.ndarray, " sample"],
    group: Int[np.ndarray, " sample"],
    training: Bool[np.ndarray, " sample"],
    choice: Choice,
    *,
    progress: bool | None = None,
) -> FittedScore:
    """Choose columns and fit them on the training samples; whole groups are held out to choose and to calibrate.

    Rows are answers after so many tokens. One model is fitted on all of them, because all columns are means so far; the
    number of tokens is one more column where held-out groups are the better for it.

    Args:
        source: The run's numbers, at moments of the samples.
        label: 0 or 1.
        group: Codes of groups.
        training: Samples that may be looked at; of the others neither labels nor numbers are.
        choice: What the monitor may look at.
        progress: Show a bar; None shows it on a terminal and in a notebook.

    Raises:
        InputError: The labels of the training groups are all alike, or no signal was read.
    """
    moment = is_moment("checkpoints", source.rows.n_generated, ended=source.rows.is_end)
    # Where every token is scored, a model of all of them would be one of the long answers.
    rows = np.flatnonzero(training[source.rows.sample] & (moment | (not source.by_token)))
    sample = source.rows.sample[rows]
    known = Training(label[sample], group[sample], np.zeros(len(rows)))
    folds = grouped_folds(label[training], group[training], n_folds=_FOLDS, seed=derived_seed(choice.seed, "monitor"))
    if folds.reason is not None:
        raise InputError(f"a monitor cannot be fitted: {folds.reason}")
    of_sample = np.full(len(label), -1)
    of_sample[training] = folds.fold
    fold = of_sample[sample]
    held_out = np.zeros((2, len(STRENGTHS), len(rows)))
    with progress_bar(total=folds.n_folds + 2, desc="fitting", unit="step", progress=progress) as bar:
        chooser = _Chooser(source, rows, label, group, choice)
        bar.update()
        for held in range(folds.n_folds):
            train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            for place, columns in enumerate(_with_and_without_length(chooser.columns(train))):
                matrix = chooser.matrix(columns)
                model = _learned(matrix[train], known.part(train), columns)
                held_out[place][:, test] = model(matrix[test])
            bar.update()
        loss = _log_loss(held_out, known.label)
        # The plainer and the more cautious one of equals.
        place, strength = (int(index) for index in np.unravel_index(np.argmin(np.round(loss, 9)), loss.shape))
        scores = held_out[place, strength]
        columns = list(_with_and_without_length(chooser.columns(np.arange(len(rows)))))[place]
        model = _learned(chooser.matrix(columns), known, columns, only=strength)
        bar.update()
    slope, shift = newton(scores[:, None], known.label, [_PLATT_PENALTY])[0]
    centre = np.where(np.isfinite(model.centre), model.centre, 0.0)
    weight = model.scale * model.slopes[0]
    intercept = model.intercept - float(model.slopes[0] @ model.mean)
    return FittedScore(columns, centre, weight, intercept, float(slope), float(shift), rows, scores)


def _with_and_without_length(columns: Columns) -> Iterator[Columns]:
    yield from (columns, columns.with_length())


def _learned(
    matrix: Float[np.ndarray, "row column"], training: Training, columns: Columns, *, only: int | None = None
) -> LinearPredictor:
    """Return models of rows, with the base rate as what is known."""
    rate = float(np.clip(training.label.mean(), 1e-6, 1 - 1e-6))
    base = float(logit(rate))
    offset = Training(training.label, training.group, np.full(len(training.label), base))
    model = Linear(columns.blocks).learn(matrix, offset, only=only, seed=0)
    return LinearPredictor(model.centre, model.scale, model.mean, model.slopes, model.intercept + base)


def _log_loss(
    margin: Float[np.ndarray, "kind strength row"], label: Int[np.ndarray, " row"]
) -> Float[np.ndarray, "kind strength"]:
    """Return the log-loss of every model after its best slope and shift, as only those are used."""
    found = np.empty(margin.shape[:2])
    for place in np.ndindex(found.shape):
        slope, shift = newton(margin[place][:, None], label, [_PLATT_PENALTY])[0]
        odds = slope * margin[place] + shift
        found[place] = (np.logaddexp(0.0, odds) - label * odds).mean() if slope > 0 else np.inf
    return found


class _Chooser:
    """Chooses columns by some of the training rows, and gives those columns of all of them."""

    def __init__(
        self,
        source: RunColumns,
        rows: Int[np.ndarray, " row"],
        label: Int[np.ndarray, " sample"],
        group: Int[np.ndarray, " sample"],
        choice: Choice,
    ) -> None:
        self._source, self._rows, self._choice = source, rows, choice
        self._sample = source.rows.sample[rows]
        self._label, self._group = label[self._sample], group[self._sample]
        self._heads = source.heads if ATTENTION in choice.signals else ()
        self._mass = np.log(source.mass(self._heads)[rows] + 1e-3)
        self._pool = source.pool if HIDDEN_STATES in choice.signals else None
        self._layers = [] if self._pool is None else source.state_layers(self._pool)
        self._places = source.activity_places(choice.concepts) if ACTIVITY in choice.signals else ()
        self._activity = source.activity(self._places)[rows]
        self._ends = np.flatnonzero(np.append(np.diff(self._sample) != 0, True))
        """Last row of each training sample."""
        self._factors = [gram_factor(gram(self._states(layer)[self._ends])) for layer in self._layers]
        self._matrices: dict[Columns, Float[np.ndarray, "row column"]] = {}
        if not (self._heads or self._layers or self._places or CONFIDENCE in choice.signals):
            raise InputError(f"the run has none of these signals: {', '.join(choice.signals)}")

    def _states(self, layer: int) -> Float[np.ndarray, "row width"]:
        assert self._pool is not None  # noqa: S101 - there are layers of it only
        return np.asarray(self._source.states(layer, self._pool)[self._rows])

    def columns(self, train: Int[np.ndarray, " row"]) -> Columns:
        """Return the columns that some of the training rows choose."""
        choice, label = self._choice, self._label[train]
        heads = chosen_places(self._mass[train], label, choice.max_heads)
        places = chosen_places(self._activity[train], label, choice.max_layers)
        layers: tuple[int, ...] = ()
        if self._layers:
            is_train = np.zeros(len(self._rows), dtype=bool)
            is_train[train] = True
            here = is_train[self._ends]
            ends = self._ends[here]
            factors = [factor[here] for factor in self._factors]
            seed = derived_seed(choice.seed, "layers")
            found = chosen_layers_of_states(factors, self._label[ends], self._group[ends], choice.max_layers, seed=seed)
            layers = tuple(self._layers[place] for place in found)
        return Columns(
            heads=tuple(self._heads[place] for place in heads),
            layers=layers,
            pool=self._pool or Columns().pool,
            state_dtype=choice.state_dtype,
            width=self._states(layers[0]).shape[1] if layers else 0,
            activity=tuple(self._places[place] for place in places),
            confidence=CONFIDENCE in choice.signals,
        )

    def matrix(self, columns: Columns) -> Float[np.ndarray, "row column"]:
        """Return these columns of all training rows; what varies by no more than rounding is constant."""
        if columns not in self._matrices:
            found = columns.matrix(self._source.numbers(columns))[self._rows]
            centre = column_means(found)
            spread = np.abs(np.where(np.isfinite(found), found - centre, 0.0)).max(axis=0, initial=0.0)
            found[:, spread < _ROUNDING * np.abs(centre) + _ROUNDING**2] = 0.0
            self._matrices = {columns: found}
        return self._matrices[columns]
