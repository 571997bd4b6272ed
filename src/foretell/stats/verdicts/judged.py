"""What a study's detectors, forests and single heads show beside its baselines, by dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from foretell.schema.study_tables import POOLED
from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.adjustment import Explained
from foretell.stats.detectors.detector import Detector, Known
from foretell.stats.detectors.samples import Samples
from foretell.stats.early.curves import Curve, Point
from foretell.stats.folds import group_numbers
from foretell.stats.forest.increment import ForestOfDataset, forest_increment
from foretell.stats.forest.random_forest import ForestResult, Protocol
from foretell.stats.heads.association import strongest_head
from foretell.stats.verdicts.findings import detector_evidence, family_evidence, forest_evidence, undefined_evidence
from foretell.stats.verdicts.rules import Evidence

__all__ = ["curve_evidence", "evidence_by_dataset", "explained_by_dataset", "of_whole_answers"]

Judged = tuple[list[Detector], Known]


def explained_by_dataset(samples: Mapping[str, Samples], judged: Mapping[str, Judged]) -> dict[str, Explained]:
    """Return what baselines explain, for the permutations of single heads.

    They leave of a label what is over its held-out probability, less what a straight line in the log-odds of each
    baseline still explains. Permuting that instead of the label asks whether a head tells what baselines do not;
    permuting within cells of the baselines would leave differences inside the cells.

    Args:
        samples: From `samples_by_dataset`.
        judged: From `detectors_by_dataset`.

    Returns:
        By dataset; those without baselines are absent.

    Source:
        Freedman and Lane 1983; Robinson 1988 for taking out what is known on both sides.
    """
    found = {}
    for dataset, one in samples.items():
        detectors, known = judged[dataset]
        if known.scores is None or known.scores.probability is None:
            continue
        baselines = [each.heldout for each in detectors if each.role == "baseline" and each.heldout.reason is None]
        columns = [each.score.mean(axis=0) for each in baselines if each.score.std() > 0]
        lines = np.column_stack([np.ones(len(one.label)), *columns])
        residual = one.label - known.scores.probability
        residual -= lines @ np.linalg.lstsq(lines, residual, rcond=1e-9)[0]
        found[dataset] = Explained(residual, one.known)
    return found


def evidence_by_dataset(
    samples: Mapping[str, Samples],
    judged: Mapping[str, Judged],
    forests: Mapping[str, Mapping[Protocol, ForestResult]],
    association: pl.DataFrame,
    *,
    level: float = 0.95,
) -> dict[str, list[Evidence]]:
    """Return what every detector, the forest on rows and the strongest single head show, by dataset.

    Args:
        samples: From `samples_by_dataset`.
        judged: From `detectors_by_dataset`.
        forests: From `forests_by_dataset`.
        association: From `association`, with what `explained_by_dataset` gives.
        level: Coverage of the intervals.
    """
    evidence: dict[str, list[Evidence]] = {}
    for dataset, one in samples.items():
        detectors, known = judged[dataset]
        facts: dict[str, Any] = {"n_positive": one.n_groups(1), "n_negative": one.n_groups(0)}
        facts["has_strata"] = one.stratum is not None
        evidence[dataset] = [detector_evidence(each, **facts) for each in detectors if each.role == "detector"]
        has_baselines = known.scores is not None
        added = _forest_increment(dataset, samples, judged, forests, level=level)
        evidence[dataset].append(forest_evidence(forests[dataset], added, **facts, has_baselines=has_baselines))
        family = association.filter(pl.col("dataset") == dataset)
        if family.height:
            best = strongest_head(family)
            evidence[dataset].append(
                family_evidence(best, n_tests=family.height, **facts, has_baselines=has_baselines, level=level)
            )
    return evidence


def of_whole_answers(
    evidence: Mapping[str, Sequence[Evidence]], words: Mapping[str, str | None]
) -> dict[str, list[Evidence]]:
    """Return what was read from whole answers, with the reason why it is none where words tell the label by then.

    Args:
        evidence: By dataset.
        words: Which words tell the label by dataset; None where none do. Where datasets are pooled, words that tell the
            label of one of them tell it of all.
    """
    telling = {dataset: text for dataset, text in words.items() if text is not None}
    if telling:
        telling[POOLED] = "; ".join(f"{dataset}: {text}" for dataset, text in sorted(telling.items()))
    return {
        dataset: [replace(one, in_words=telling.get(dataset)) for one in several]
        for dataset, several in evidence.items()
    }


def curve_evidence(samples: Samples, curve: Curve, published: Point) -> list[Evidence]:
    """Return what every family of signals, and every published detector, shows at the last moment that counts.

    Args:
        samples: Of the dataset.
        curve: Of the dataset.
        published: The published detectors at that moment.
    """
    facts: dict[str, Any] = {"n_positive": samples.n_groups(1), "n_negative": samples.n_groups(0)}
    last = curve.last
    when = "of whole answers" if last.share_written == 1 else f"after {last.after} tokens"
    numbers = when if curve.words is None else f"{when} ({curve.words})"
    found = []
    for point in (last, published):
        names = curve.families if point is last else (*(one.signal for one in point.detectors), *point.undefined)
        for name in dict.fromkeys(names):
            detector = point.detector(name)
            if detector is not None:
                shown = detector_evidence(detector, **facts, has_strata=samples.stratum is not None)
                found.append(replace(shown, signal=name, kind=f"this detector on {name}", numbers=numbers))
            elif name in point.undefined:
                reason = f"{when}: {point.undefined[name]}"
                found.append(
                    undefined_evidence(name, reason, n_positive=facts["n_positive"], n_negative=facts["n_negative"])
                )
    return found


def _forest_increment(
    dataset: str,
    samples: Mapping[str, Samples],
    judged: Mapping[str, Judged],
    forests: Mapping[str, Mapping[Protocol, ForestResult]],
    *,
    level: float,
) -> Estimate:
    """Return the increment of a dataset's forest, or of the forests of all datasets that are pooled."""
    pooled = samples[dataset].dataset
    names = [dataset] if pooled is None else list(dict.fromkeys(pooled.tolist()))
    group = group_numbers(samples[dataset].group)
    parts = []
    for name in names:
        scores = judged[name][1].scores
        known = None if scores is None or scores.reason is not None else scores.score.mean(axis=0)
        here = slice(None) if pooled is None else pooled == name
        parts.append(ForestOfDataset(forests[name]["grouped"], known, group[here]))
    return forest_increment(parts, level=level)
