"""Labels of a log as a table that joins with a run by the ids that its conversations have."""

from __future__ import annotations

import polars as pl

from foretell.records.logs.evaluation_log import EvaluationLog
from foretell.records.skipped import BadRecords

__all__ = ["label_frame"]

_COLUMNS = ("id", "behavior_label", "label_source", "label_reason", "group", "stratum")


def label_frame(
    log: EvaluationLog, *, bad: BadRecords, scorer: str | None = None
) -> tuple[pl.DataFrame, tuple[int, ...]]:
    """Return one row per answer of a log, and the number of the record that each is from.

    The columns are id, dataset (the task, where the log names it), behavior_label, label_source, label_reason, group
    and stratum.

    Args:
        log: A log whose records have not been read.
        bad: Takes records that cannot be used.
        scorer: Name of the score that labels the answers, see `foretell.records.logs.scores.label_rule`.
    """
    numbered = [
        (row, answer.id, answer.group, answer.stratum, answer.scores, answer.unlabelled)
        for row, answer in log.answers(bad=bad, scorer=scorer)
    ]
    rule = log.rule((one[4] for one in numbered), bad=bad, scorer=scorer)
    task = log.header.task
    rows = [
        (name, *rule.label(scores, why_none), group, stratum or task)
        for _, name, group, stratum, scores, why_none in numbered
    ]
    types = {name: pl.Int8 if name == "behavior_label" else pl.String for name in _COLUMNS}
    frame = pl.DataFrame(rows, schema=types, orient="row").with_columns(
        label_reason=pl.when(pl.col("label_reason") != "").then("label_reason")
    )
    if task is not None:
        frame = frame.with_columns(pl.lit(task).alias("dataset"))
    return frame, tuple(one[0] for one in numbered)
