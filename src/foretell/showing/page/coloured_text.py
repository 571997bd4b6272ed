"""Coloured text for the page: each token made visible, with its colours and the words that the pointer shows."""

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
    """One token as a template writes it; the template escapes it."""

    text: str
    paper: str
    """Colour behind it."""
    ink: str
    told: str
    """What the pointer shows: number, text and score of the token."""
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
        told = f"token {index}: “{token_label(token)}”, activity {number_text(float(value), digits=2)}"
        if panel.null_lower is not None and panel.null_upper is not None:
            ends = (number_text(float(end[index]), digits=2) for end in (panel.null_lower, panel.null_upper))
            told += f"; random directions {' to '.join(ends)}"
        # A line feed is shown, and then breaks the line as it does in the answer.
        text = visible(token).replace("↵", "↵\n") or "∅"
        made.append(ColouredToken(text, paper, ink_on(paper), told, bool(panel.outside[index])))
    return tuple(made)
