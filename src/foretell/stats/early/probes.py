"""Probes at one moment: detectors that others have published, and each layer of hidden states by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from foretell.stats.detectors.adjustment import without
from foretell.stats.detectors.detector import Detector, judge_detectors
from foretell.stats.detectors.features import Features
from foretell.stats.early.curves import CurveSamples, Explained, Point, judged_at
from foretell.stats.signals.family import undefined
from foretell.stats.signals.hidden_so_far import OF_PROMPT, HiddenStates
from foretell.stats.signals.moment import Moment
from foretell.stats.signals.run_signals import MASS_MEAN, SAPLMA, SampleSignals

__all__ = ["LayerProbe", "layer_probes", "published_probes"]

_LAST_TOKENS = ("last answer token", OF_PROMPT, "mean over answer")
"""Pools for probes that were published for the last token, best first."""


@dataclass(frozen=True)
class LayerProbe:
    """A ridge model on the states of one layer and pool."""

    layer: int
    pool: str
    detector: Detector


def published_probes(samples: CurveSamples, signals: SampleSignals, *, after: int, saplma: bool = False) -> Point:
    """Judge the detectors that others have published, at one moment.

    They are the lookback ratio of all heads (Chuang et al. 2024; a ridge model stands for logistic regression), the
    perplexity, where single rows were stored RAUQ (Vazhentsev et al. 2025), and on the last token's hidden states the
    mass-mean probe (Marks and Tegmark 2023) and, where asked for, SAPLMA (Azaria and Mitchell 2023).

    Args:
        samples: Labels, groups, and what is known before the answer.
        signals: Of the same samples.
        after: Number of generated tokens.
        saplma: Whether SAPLMA is trained, which takes longer than all the rest.
    """
    moment, hidden = signals.moment(after), signals.hidden
    families = signals.published(moment)
    probes = [] if hidden is None else _of_states(hidden, moment, saplma=saplma)
    if hidden is not None and not probes:
        families.append(undefined(MASS_MEAN, "no states of a last token were stored at this moment"))

    def beside(explained: Explained) -> list[Features]:
        return [replace(one, beside=tuple(without(block, explained) for block in one.blocks)) for one in probes]

    return judged_at(samples, signals, families, moment, join=False, more=beside)


def _of_states(hidden: HiddenStates, moment: Moment, *, saplma: bool) -> list[Features]:
    """Return the probes on the states of the last token, every layer a block."""
    stored = hidden.pools(moment)
    pool = next((one for one in _LAST_TOKENS if one in stored), None)
    factors = [] if pool is None else hidden.layers(moment, pool)
    if pool is None or not factors:
        return []
    found = [Features(MASS_MEAN, "detector", tuple(one for _, one in factors), "mass-mean", signal=MASS_MEAN)]
    if saplma:
        states = [hidden.at(moment, layer, pool) for layer, _ in factors]
        blocks = tuple(one.astype(np.float64) for one in states if one is not None)
        found.append(Features(SAPLMA, "detector", blocks, "perceptron", signal=SAPLMA))
    return found


def layer_probes(samples: CurveSamples, signals: SampleSignals, *, after: int) -> list[LayerProbe]:
    """Judge a ridge model on every layer and pool of the hidden states by itself, in one repeat of the folds.

    Args:
        samples: Labels and groups.
        signals: Of the same samples.
        after: Number of generated tokens.
    """
    if signals.hidden is None:
        return []
    moment = signals.moment(after)
    found = []
    for pool in signals.hidden.pools(moment):
        for layer, factor in signals.hidden.layers(moment, pool):
            features = Features(f"{pool}, layer {layer}", "detector", (factor,), one_scale=(0,))
            judged, _ = judge_detectors(
                [features],
                samples.label,
                group=samples.group,
                stratum=samples.stratum,
                level=samples.level,
                folds=samples.one_repeat,
            )
            found.append(LayerProbe(layer, pool, judged[0]))
    return found
