"""A monitor in sentences: what it looks at, what it was made from, what its threshold guarantees."""

from __future__ import annotations

from collections.abc import Callable

from foretell.errors import InputError
from foretell.monitors.baseline_monitor import BestBaseline
from foretell.monitors.monitor import Monitor
from foretell.monitors.run_columns import EVERY
from foretell.showing.figures.figure import Figure
from foretell.showing.notebook.object_figures import caught_figure, chosen_heads_figure
from foretell.showing.overview import Measured

__all__ = ["described", "described_facts", "figures", "guarantee"]


def guarantee(monitor: Monitor) -> str:
    """Return what the threshold guarantees, or that there is none."""
    known = monitor.threshold
    if known.score is None:
        return "It gives no alarm."
    return (
        f"Alarm: a score above {known.score:.4g} {_moments(monitor)}. With confidence {known.confidence:g}, at most "
        f"{known.max_false_positive_rate:.2%} of new groups with label 0 have a false alarm on any of their answers "
        f"({known.n_false_alarms} of {known.n_negative_groups} calibration groups had one; upper bound "
        f"{known.upper:.2%}). It holds for groups from the same population, for answers made in the same way."
    )


def described(monitor: Monitor) -> list[str]:
    """Return lines of text."""
    made, share = monitor.made_from, monitor.recall.share
    looks = _looks_at(monitor)
    lines = [
        f"Behaviour: {made.behaviour or 'not named'}. Looks at {'; '.join(looks)}.",
        f"Made from {made.model} ({', '.join(made.dtypes)}; weights {made.weights}; template {made.template}) with "
        f"foretell {made.version} on {made.date}.",
        f"Fitted on {made.n_training_samples} answers of {made.n_training_groups} groups; threshold from "
        f"{made.n_calibration_samples} answers of {made.n_calibration_groups} others.",
    ]
    if made.held_out_auc is not None:
        lines.append(f"AUC on held-out training groups, highest score of each answer: {made.held_out_auc:.2f}.")
    lines.append(guarantee(monitor))
    if share.estimate is not None:
        lines.append(
            f"Recall at that threshold: {share.estimate:.2f} ({share.level:.0%} interval {share.lower:.2f} to "
            f"{share.upper:.2f}; {share.n} positive answers of {share.n_groups} groups)."
        )
    if monitor.recall.median_first_alarm is not None:
        lines.append(
            f"First alarm: after {monitor.recall.median_first_alarm:g} tokens (median of those caught), at "
            f"{monitor.recall.median_share_of_answer:.0%} of the answer."
        )
    if monitor.baseline is not None:
        lines.append(beside_baseline(monitor.baseline))
    return [*lines, *made.notes]


def beside_baseline(found: BestBaseline) -> str:
    """Return what a monitor catches beside the best baseline, and whether it is more."""
    known = (
        f"Best baseline at the same false-positive rate ({found.name}): recall {found.recall.estimate:.2f}; the "
        f"monitor catches {found.more:+.2f}"
    )
    if found.more_lower is None or found.more_upper is None or found.detectable is None:
        return f"{known}; too few calibration groups of label 0 for an interval (none of them may have a false alarm)."
    verdict = "more than the baseline" if found.more_lower > 0 else "not shown to be more than the baseline"
    return (
        f"{known} ({found.recall.level:.0%} interval {found.more_lower:+.2f} to {found.more_upper:+.2f}): {verdict}; "
        f"a difference of {found.detectable:.2f} would be seen with 80 % power."
    )


def _looks_at(monitor: Monitor) -> list[str]:
    columns = monitor.columns
    looks = [f"{len(columns.heads)} heads in {len(columns.attention_layers)} layers"] if columns.heads else []
    if columns.layers:
        looks.append(f"hidden states of layers {', '.join(map(str, columns.layers))} ({columns.pool})")
    if columns.activity:
        looks.append("activity of " + ", ".join(f"{name} at layer {layer}" for name, layer in columns.activity))
    return looks + ["log-probabilities"] * columns.confidence + ["the number of tokens"] * columns.length


def described_facts(monitor: Monitor) -> list[tuple[str, str]]:
    """Return the same in short, as names and texts."""
    made, threshold, share = monitor.made_from, monitor.threshold, monitor.recall.share
    fitted = f"{made.n_training_samples:,} answers; threshold from {made.n_calibration_samples:,} others"
    known = [("looks at", "; ".join(_looks_at(monitor)) or "nothing"), ("model", made.model), ("fitted on", fitted)]
    if made.held_out_auc is not None:
        known.append(("held-out AUC", f"{made.held_out_auc:.2f}"))
    alarm = threshold.reason or (f"above {threshold.score or 0:.4g} {_moments(monitor)}")
    known.append(("alarm", alarm))
    if threshold.score is not None:
        rate = f"{threshold.max_false_positive_rate:.2%} of new groups, confidence {threshold.confidence:g}"
        known.append(("false alarms", f"at most {rate}"))
    if share.estimate is not None:
        known.append(("recall", f"{share.estimate:.2f} [{share.lower:.2f}, {share.upper:.2f}]"))
    if monitor.baseline is not None:
        one = monitor.baseline
        interval = "" if one.more_lower is None else f" [{one.more_lower:+.2f}, {one.more_upper:+.2f}]"
        known.append(("beside the best baseline", f"{one.more:+.2f}{interval} ({one.name})"))
    return known


def figures(monitor: Monitor) -> dict[str, Callable[[], Figure]]:
    """Return what makes the figures of a monitor, by name."""
    recall, made = monitor.recall, monitor.made_from
    behaviour = made.behaviour or "label 1"
    whole = Measured(recall.share.estimate, recall.share.lower, recall.share.upper)

    def caught() -> Figure:
        if monitor.threshold.score is None:
            raise InputError(f"the monitor gives no alarm, so it catches nothing: {monitor.threshold.reason}")
        known, median = guarantee(monitor), recall.median_first_alarm
        return caught_figure(recall.caught_by, whole, behaviour=behaviour, guarantee=known, median=median)

    def heads() -> Figure:
        chosen = monitor.columns.heads
        return chosen_heads_figure(chosen, n_layers=made.n_layers, n_heads=made.n_heads, behaviour=behaviour)

    return {"caught": caught, "heads": heads}


def _moments(monitor: Monitor) -> str:
    if monitor.scored_at == EVERY:
        return "after any token"
    if monitor.scored_at == "checkpoints":
        return "after 1, 2, 4, 8, ... tokens or at the end"
    return f"after {monitor.scored_at} tokens, or at the end of a shorter answer"
