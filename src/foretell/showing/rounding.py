"""Numbers as text: rounded, and "undefined" where there is none."""

from __future__ import annotations

import math

__all__ = [
    "UNDEFINED",
    "count_text",
    "estimate_text",
    "interval_text",
    "number_text",
    "p_text",
    "percent_text",
    "signed_text",
]

UNDEFINED = "undefined"
"""Text for an undefined number."""


def _absent(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def number_text(value: float | None, *, digits: int = 3) -> str:
    """Return `value` with `digits` decimals, or in scientific notation if all of them would be zero.

    Example:
        >>> number_text(0.58349), number_text(None), number_text(2.2e-16)
        ('0.583', 'undefined', '2.2e-16')
    """
    if value is None or _absent(value):
        return UNDEFINED
    if value != 0 and abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}".replace("-", "−")


def signed_text(value: float | None, *, digits: int = 3) -> str:
    """Return a difference with its sign.

    Example:
        >>> signed_text(0.0512), signed_text(-0.2)
        ('+0.051', '−0.200')
    """
    if value is None or _absent(value):
        return UNDEFINED
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def estimate_text(estimate: float | None, lower: float | None, upper: float | None) -> str:
    """Return an estimate with its interval in square brackets, or without it if there is none.

    Example:
        >>> estimate_text(0.584, 0.51, 0.655)
        '0.58 [0.51, 0.66]'
    """
    if _absent(estimate):
        return UNDEFINED
    if _absent(lower) or _absent(upper):
        return number_text(estimate, digits=2)
    return f"{_fixed(estimate)} {interval_text(lower, upper)}"


def interval_text(lower: float | None, upper: float | None) -> str:
    """Return an interval in square brackets, empty if there is none.

    Example:
        >>> interval_text(-0.012, 0.07), interval_text(None, 0.07)
        ('[−0.01, 0.07]', '')
    """
    if _absent(lower) or _absent(upper):
        return ""
    return f"[{_fixed(lower)}, {_fixed(upper)}]"


def _fixed(value: float | None) -> str:
    text = f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def p_text(value: float | None) -> str:
    """Return a p-value, "< 0.001" if it is smaller.

    Example:
        >>> p_text(0.0002), p_text(0.031)
        ('< 0.001', '0.031')
    """
    if value is None or _absent(value):
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent_text(value: float | None) -> str:
    """Return a fraction as a percentage.

    Example:
        >>> percent_text(0.885)
        '88.5 %'
    """
    return UNDEFINED if value is None or _absent(value) else f"{100 * value:.1f} %"


def count_text(value: int | None) -> str:
    """Return a count with thousands separators.

    Example:
        >>> count_text(76800)
        '76,800'
    """
    return UNDEFINED if value is None else f"{value:,}"
