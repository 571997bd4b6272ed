"""A monitor in sentences: what it looks at, what it was made from, what its threshold guarantees."""

from __future__ import annotations

from foretell.monitors.monitor import Monitor
from foretell.monitors.run_columns import EVERY

__all__ = ["described", "guarantee"]


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
    columns, made, share = monitor.columns, monitor.made_from, monitor.recall.share
    looks = [f"{len(columns.heads)} heads in {len(columns.attention_layers)} layers"] if columns.heads else []
    if columns.layers:
        looks.append(f"hidden states of layers {', '.join(map(str, columns.layers))} ({columns.pool})")
    if columns.activity:
        looks.append("activity of " + ", ".join(f"{name} at layer {layer}" for name, layer in columns.activity))
    looks += ["log-probabilities"] * columns.confidence + ["the number of tokens"] * columns.length
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
    return [*lines, *made.notes]


def _moments(monitor: Monitor) -> str:
    if monitor.scored_at == EVERY:
        return "after any token"
    if monitor.scored_at == "checkpoints":
        return "after 1, 2, 4, 8, ... tokens or at the end"
    return f"after {monitor.scored_at} tokens, or at the end of a shorter answer"
