"""What the checks that samples name say of the answers so far.

Where a rule on the text makes the label, the text tells it: an answer that should have no comma has failed with its
first one, whatever the model's states are. Words alone do not show that, so the rule itself is a baseline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from foretell.errors import InputError
from foretell.labels.verifiers import check_specification, verify
from foretell.stats.detectors.baselines import varies
from foretell.stats.detectors.features import Features

__all__ = ["CHECKS", "checks_so_far", "readable_check"]

CHECKS = "checks of the answer so far"


def readable_check(text: str | None) -> Mapping[str, Any] | None:
    """Return the check that a sample names, if whoever reads the conversation can make it.

    Args:
        text: The specification as JSON.

    Returns:
        None where there is none, where it is unknown here, and where it knows the right answer, which the conversation
        does not give: it has an argument `accepted`.

    Example:
        >>> readable_check('{"name": "no_commas"}')
        {'name': 'no_commas'}
        >>> readable_check('{"name": "answers_correctly", "accepted": ["Lima"]}') is None
        True
    """
    try:
        found = json.loads(text or "null")
        if not isinstance(found, dict) or _knows_answer(found):
            return None
        check_specification(found)
    except (ValueError, RecursionError, InputError):
        return None
    return found


def _knows_answer(check: Mapping[str, Any]) -> bool:
    inner = check.get("checks")
    several = inner if isinstance(inner, list) else []
    return "accepted" in check or any(isinstance(one, dict) and _knows_answer(one) for one in several)


def checks_so_far(checks: Sequence[Mapping[str, Any] | None], texts: Sequence[str]) -> Features | None:
    """Return one baseline column: 1 where the text so far satisfies the sample's check, 0 where not, nan where unknown.

    Args:
        checks: One per sample, from `readable_check`.
        texts: The answers so far.

    Returns:
        None where all are alike.

    Example:
        >>> checks_so_far([{"name": "no_commas"}] * 2, ["It rains", "It rains, and"]).blocks[0].tolist()
        [[1.0], [0.0]]
    """
    said = [None if one is None else verify(text, one).followed for one, text in zip(checks, texts, strict=True)]
    column: Float[np.ndarray, " sample"] = np.array([np.nan if one is None else float(one) for one in said])
    return Features(CHECKS, "baseline", (column[:, None],)) if varies(column) else None
