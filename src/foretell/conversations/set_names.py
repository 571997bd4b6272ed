"""Names of the built-in sets, apart from what reads them: a call can be refused by name before anything is loaded."""

from __future__ import annotations

__all__ = ["BUILTIN_DATASETS", "BUILTIN_SETS"]

BUILTIN_DATASETS = {"alpaca": "alpaca.json", "sharegpt": "sharegpt.json", "flan": "flan.tsv"}
"""File of each built-in set of instructions; the shape of the file is the name of the set."""

BUILTIN_SETS = ("instructions", "questions", "false-claims", "lies", *BUILTIN_DATASETS)
"""Names that `builtin_conversations` takes: one set per behaviour, then the three that are the instructions."""
