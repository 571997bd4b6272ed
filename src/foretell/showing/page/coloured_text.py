"""Coloured text for the page: each token with its colours and tooltip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretell.showing.figures.figure import TokenFigure, TokenPanel
from foretell.showing.figures.palette import COLOUR_SCALES, UNDEFINED_COLOUR, ink_on, mixed
from foretell.showing.rounding import number_text
from foretell.showing.untrusted import token_label, visible

__all__ = ["ColouredToken", "coloured_tokens"]


@dataclass(frozen=True)
class ColouredToken:
    """One token, as passed to the template, which escapes it."""

    text: str
    paper: str
    """Background colour."""
    ink: str
    tooltip: str
    """Index, text and score of the token."""
    outside: bool


def coloured_tokens(figure: TokenFigure, panel: TokenPanel) -> tuple[ColouredToken, ...]:
    """Return the tokens of one answer in the colours of the figure's scale, in their order.

    Args:
        figure: The scale.
        panel: One of its answers.
    """
    made = []
    for index, (token, value) in enumerate(zip(panel.tokens, panel.values, strict=True)):
        defined = bool(np.isfinite(value))
        place = 0.5 + float(value) / (2 * figure.z_limit)
        paper = mixed(COLOUR_SCALES[figure.scale], place) if defined else UNDEFINED_COLOUR
        tooltip = f"token {index}: “{token_label(token)}”, activity {number_text(float(value), digits=2)}"
        if panel.null_lower is not None and panel.null_upper is not None:
            ends = (number_text(float(end[index]), digits=2) for end in (panel.null_lower, panel.null_upper))
            tooltip += f"; random directions {' to '.join(ends)}"
        # A line feed is made visible and also breaks the line, as in the answer.
        text = visible(token).replace("↵", "↵\n") or "∅"
        made.append(ColouredToken(text, paper, ink_on(paper), tooltip, bool(panel.outside[index])))
    return tuple(made)
