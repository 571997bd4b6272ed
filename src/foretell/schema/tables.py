"""All tables with their column specifications: name, dtype, range, null rule and meaning.

Writers, readers, documentation and tests use the same specifications. The axis order is always sample, layer, head,
token, segment.

    from foretell.schema.tables import ATTENTION, conform
    frame = conform(frame, ATTENTION)
"""

from __future__ import annotations

from foretell.schema.cause_tables import CAUSES
from foretell.schema.columns import Column, Table, conform, empty
from foretell.schema.comparison_tables import COMPARISON, COMPARISON_HEADS
from foretell.schema.direction_tables import (
    DIRECTION_AGREEMENT,
    DIRECTION_CHOICE,
    DIRECTION_NULL,
    DIRECTION_TRANSFER,
    STEERING,
    SURFACE,
)
from foretell.schema.monitor_tables import DRIFT, SHIFT
from foretell.schema.run_tables import (
    ACTIVITY,
    ATTENTION,
    CHECKPOINTS,
    HIDDEN,
    LABELS,
    MASSES,
    POOLS,
    ROWS,
    SAMPLES,
    SCORES,
    SEGMENTS,
    SHARES,
    TOKENS,
)
from foretell.schema.study_tables import (
    ASSOCIATION,
    DETECTORS,
    DIRECTIONS,
    EARLY,
    EARLY_RELATIVE,
    FOREST,
    FOREST_POINTS,
    HELD_OUT_SCORES,
    HIDDEN_LAYERS,
    IMPORTANCES,
    RELIABILITY,
    ROC,
    ROC_POINTS,
    THRESHOLDS,
    TOLD_BY,
    TRANSFER,
    VERDICTS,
)

__all__ = [
    "ACTIVITY",
    "ASSOCIATION",
    "ATTENTION",
    "CAUSES",
    "CHECKPOINTS",
    "COMPARISON",
    "COMPARISON_HEADS",
    "DETECTORS",
    "DIRECTIONS",
    "DIRECTION_AGREEMENT",
    "DIRECTION_CHOICE",
    "DIRECTION_NULL",
    "DIRECTION_TRANSFER",
    "DRIFT",
    "EARLY",
    "EARLY_RELATIVE",
    "FOREST",
    "FOREST_POINTS",
    "HELD_OUT_SCORES",
    "HIDDEN",
    "HIDDEN_LAYERS",
    "IMPORTANCES",
    "LABELS",
    "MASSES",
    "POOLS",
    "RELIABILITY",
    "ROC",
    "ROC_POINTS",
    "ROWS",
    "SAMPLES",
    "SCORES",
    "SEGMENTS",
    "SHARES",
    "SHIFT",
    "STEERING",
    "SURFACE",
    "TABLES",
    "THRESHOLDS",
    "TOKENS",
    "TOLD_BY",
    "TRANSFER",
    "VERDICTS",
    "Column",
    "Table",
    "conform",
    "empty",
]

TABLES = {
    table.name: table
    for table in (
        SAMPLES,
        SCORES,
        LABELS,
        ATTENTION,
        CHECKPOINTS,
        ROWS,
        TOKENS,
        ACTIVITY,
        HIDDEN,
        ASSOCIATION,
        ROC,
        ROC_POINTS,
        THRESHOLDS,
        FOREST,
        FOREST_POINTS,
        IMPORTANCES,
        DETECTORS,
        RELIABILITY,
        HELD_OUT_SCORES,
        TRANSFER,
        EARLY,
        EARLY_RELATIVE,
        TOLD_BY,
        HIDDEN_LAYERS,
        DIRECTIONS,
        DIRECTION_NULL,
        DIRECTION_CHOICE,
        DIRECTION_AGREEMENT,
        DIRECTION_TRANSFER,
        STEERING,
        SURFACE,
        CAUSES,
        VERDICTS,
        SHIFT,
        DRIFT,
        COMPARISON,
        COMPARISON_HEADS,
    )
}
"""All tables by name."""
