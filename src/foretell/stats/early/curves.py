"""Early curves: every family of signals and every baseline of the same moment, after 0, 1, 2, 4, ... tokens.

All moments have the same folds. Where the words of the answer tell the label by themselves, a signal that sees them
tells it too; so moments from there on do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Shaped

from foretell.stats.detectors.adjustment import known_columns
from foretell.stats.detectors.baselines import REPEATS, WORDS_SO_FAR, baselines
from foretell.stats.detectors.detector import MAJORITY, Detector, judge_detectors
from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import CrossValidation
from foretell.stats.signals.checks_so_far import CHECKS
from foretell.stats.signals.family import ALL, ALL_SIGNALS, Family, family_features
from foretell.stats.signals.moment import Moment
from foretell.stats.signals.run_signals import SampleSignals

Explained: TypeAlias = Float[np.ndarray, "sample column"] | None

__all__ = ["Curve", "CurveSamples", "Point", "early_curve", "judged_at", "telling_words"]


@dataclass(frozen=True)
class CurveSamples:
    """The samples of one dataset, with what is known of them before the answer."""

    label: Int[np.ndarray, " sample"]
    group: Shaped[np.ndarray, " sample"]
    """Numbers of groups of dependent samples."""
    stratum: Shaped[np.ndarray, " sample"] | None
    folds: CrossValidation
    """The same for all moments and signals."""
    one_repeat: CrossValidation
    """The first repeat of them."""
    columns: Mapping[str, Float[np.ndarray, " sample"]]
    """Lengths of the segments."""
    prompt: Sequence[str | None] | None
    level: float = 0.95
    """Coverage of the intervals."""


@dataclass(frozen=True)
class Point:
    """What is known after so many tokens."""

    after: int
    """Number of generated tokens."""
    detectors: tuple[Detector, ...]
    """Families that are defined here, then single baselines, then all baselines together."""
    undefined: Mapping[str, str]
    """Why each other family is undefined here, by name."""
    words: tuple[str, float] | None
    """The best of the baselines of the answer's words and its check, and its AUC; None where there is none."""
    share_written: float = 1.0
    """Mean share of each answer's tokens that are written by now."""

    def shows_in_words(self, words_auc: float) -> bool:
        """Whether the words of the answer, or its check, tell the label by themselves."""
        return self.words is not None and self.words[1] >= words_auc

    def detector(self, signal: str) -> Detector | None:
        """Return the detector on a family; None where it is undefined."""
        return next((one for one in self.detectors if one.signal == signal and one.role == "detector"), None)


@dataclass(frozen=True)
class Curve:
    """The moments of one dataset, in order."""

    families: tuple[str, ...]
    """Names of the families, all of them together last."""
    points: tuple[Point, ...]
    words_from: int | None
    """First number of tokens at which the words of the answer tell the label by themselves; None: they never do."""
    n: int
    """Samples."""
    n_positive: int
    notes: tuple[str, ...]

    @property
    def counting(self) -> tuple[Point, ...]:
        """The moments before the words of the answer tell the label."""
        return tuple(one for one in self.points if self.words_from is None or one.after < self.words_from)

    @property
    def last(self) -> Point:
        """The last moment that counts."""
        return self.counting[-1]

    @property
    def words(self) -> str | None:
        """Why later moments do not count, as half a sentence; None where all count."""
        point = next((one for one in self.points if one.after == self.words_from), None)
        if point is None or point.words is None:
            return None
        return f"from token {point.after} on {_telling(*point.words)}, so only what comes before counts"


def early_curve(
    samples: CurveSamples,
    signals: SampleSignals,
    *,
    moments: Sequence[int],
    words_auc: float = 0.9,
    advance: Callable[[int], None] | None = None,
) -> Curve:
    """Judge every family of signals and every baseline after 0, 1, 2, 4, ... tokens, on the same folds.

    A signal after k tokens is that of each answer's first k tokens, and of the whole answer where it is shorter: all
    samples count at every moment. Length so far, and whether an answer has ended, are baselines.

    Args:
        samples: Labels, groups, and what is known before the answer.
        signals: Of the same samples.
        moments: Numbers of generated tokens, from `signals.checkpoints`.
        words_auc: Held-out AUC at which the words of the answer so far tell the label by themselves.
        advance: Called with the number of tokens after every moment.
    """
    names: tuple[str, ...] = ()
    points, notes = [], dict[str, None]()
    for after in moments:
        moment = signals.moment(after)
        families = signals.families(moment)
        names = tuple(one.name for one in families)
        notes |= dict.fromkeys(note for one in families for note in one.notes)
        points.append(judged_at(samples, signals, families, moment))
        if advance is not None:
            advance(after)
    worded = [one.after for one in points if one.shows_in_words(words_auc)]
    n, n_positive = len(samples.label), int(samples.label.sum())
    return Curve((*names, ALL), tuple(points), worded[0] if worded else None, n, n_positive, tuple(notes))


def telling_words(samples: CurveSamples, signals: SampleSignals, *, words_auc: float = 0.9) -> str | None:
    """Say which words of whole answers tell the label by themselves; None where none do.

    Args:
        samples: Labels, groups, and what is known before the answer.
        signals: Of the same samples.
        words_auc: Held-out AUC at which they do.
    """
    point = judged_at(samples, signals, (), signals.moment(signals.checkpoints[-1]))
    return _telling(*point.words) if point.words is not None and point.shows_in_words(words_auc) else None


def _telling(name: str, area: float) -> str:
    return f"the {name.removesuffix(' so far')} alone tell the label (AUC {area:.2f})"


def judged_at(
    samples: CurveSamples,
    signals: SampleSignals,
    families: Sequence[Family],
    moment: Moment,
    *,
    join: bool = True,
    more: Callable[[Explained], Sequence[Features]] = lambda _: (),
    also_known: Sequence[Features] = (),
) -> Point:
    """Judge families beside the baselines of the same moment.

    Args:
        samples: Labels, groups, and what is known before the answer.
        signals: Of the same samples.
        families: At this moment.
        moment: Of these samples.
        join: Whether all families together are judged as well.
        more: Gets what baselines explain, and returns further detectors.
        also_known: Further baselines.
    """
    columns, text = signals.so_far(moment)
    known, _ = baselines(samples.stratum, {**samples.columns, **columns}, text, samples.prompt, so_far=True)
    known = [*known, *signals.checks(text), *also_known]
    explained = known_columns(known, len(samples.label))
    own = [one for one in (family_features(family, explained) for family in families) if one is not None]
    features = [*own, *(_together(own) if join else []), *more(explained)]
    found, _ = judge_detectors(
        [*features, *known],
        samples.label,
        group=samples.group,
        stratum=samples.stratum,
        level=samples.level,
        folds=samples.folds,
    )
    shown = {one.name for one in own}
    words = [(one.name, _area(one, samples)) for one in found if one.name in {WORDS_SO_FAR, REPEATS, CHECKS}]
    defined = [(name, area) for name, area in words if area is not None]
    return Point(
        moment.after,
        tuple(one for one in found if one.name != MAJORITY),
        {one.name: one.reason or "it has no number" for one in families if one.name not in shown},
        max(defined, key=lambda one: one[1]) if defined else None,
        moment.share_written,
    )


def _area(one: Detector, samples: CurveSamples) -> float | None:
    return (one.auc if samples.stratum is None else one.within_strata).estimate


def _together(families: Sequence[Features]) -> list[Features]:
    """Return all families as one detector, each of them a block; none where there is no family."""
    blocks = tuple(block for one in families for block in one.blocks)
    beside = tuple(block for one in families for block in one.beside or one.blocks)
    scales = tuple(range(len(blocks)))
    return [Features(ALL_SIGNALS, "detector", blocks, beside=beside, signal=ALL, one_scale=scales)] if blocks else []
