"""What a study found about each behaviour, in one sentence made by rule from its overview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from foretell.showing.overview import ALL_BASELINES, Measured, Overview, OverviewRow, SignalCell
from foretell.showing.rounding import count_text, estimate_text, interval_text, number_text, p_text, signed_text

__all__ = ["FINDING_RULE", "Finding", "findings", "from_token_text", "increment_text", "share_text"]

FINDING_RULE = (
    "a signal tells a behaviour where its verdict is signal or weak signal; the one with the largest increment comes "
    "first. Where none does, the largest increment is given as it is. The words alone tell a behaviour from the first "
    "number of tokens that does not count (early.counts)"
)
"""How the sentences of the overview are made."""

Outcome = Literal["tells", "nothing", "unknown"]
_ORDER: tuple[Outcome, ...] = ("tells", "nothing", "unknown")


@dataclass(frozen=True)
class Finding:
    """One behaviour in words."""

    title: str
    outcome: Outcome
    text: str
    sources: tuple[str, ...]


def findings(shown: Overview) -> tuple[Finding, ...]:
    """Return one finding per behaviour, of all its datasets, in the order of the overview.

    A behaviour of several datasets is described by all of them pooled where the study pools them.
    """
    made = []
    for title, group in groupby(shown.rows, key=lambda row: row.behaviour or row.dataset):
        rows = list(group)
        pooled = [row for row in rows if row.dataset == "all" and len(rows) > 1]
        made.append(_finding(title, pooled or rows))
    return tuple(made)


def _finding(title: str, rows: Sequence[OverviewRow]) -> Finding:
    """Describe one behaviour: the datasets in which something tells it, then the others together."""
    telling, quiet, untested = ([row for row in rows if _outcome(row) == one] for one in _ORDER)
    parts = [_rates(rows)]
    named = [_strongest(row.cells, predicting=True) for row in telling]
    parts += [_place([row], rows) + _telling(row, best) + _words(row) for row, best in zip(telling, named, strict=True)]
    if quiet:
        row = max(quiet, key=lambda one: _size(_strongest(one.cells)))
        named.append(_strongest(row.cells))
        of_all = "" if telling else _words_of(quiet)
        parts.append(_place(quiet, rows) + _silent(quiet, row, named[-1]) + of_all)
    if untested:
        cells = [cell for row in untested for cell in row.cells]
        reasons = "; ".join(dict.fromkeys(cell.why.rstrip(".") for cell in cells if cell.why))
        parts.append(f"{_place(untested, rows)}No conclusion: {reasons or 'no signal was tested'}.")
    outcome = next(one for one, found in zip(_ORDER, (telling, quiet, untested), strict=True) if found)
    sources = tuple(dict.fromkeys(source for cell in named for source in cell.sources))
    return Finding(_capital(title) if rows[0].behaviour else title, outcome, " ".join(filter(None, parts)), sources)


def _outcome(row: OverviewRow) -> Outcome:
    if any(cell.predicts for cell in row.cells):
        return "tells"
    tested = [cell for cell in row.cells if cell.verdict != "not enough data" and cell.increment.value is not None]
    return "nothing" if tested else "unknown"


def _strongest(cells: Sequence[SignalCell], *, predicting: bool = False) -> SignalCell:
    """Return the cell with the largest increment, or AUC where none has one; among those that tell, if so asked."""
    return max((cell for cell in cells if cell.predicts or not predicting), key=_size)


def _size(cell: SignalCell) -> tuple[float, float]:
    low = float("-inf")
    return (
        low if cell.increment.value is None else cell.increment.value,
        low if cell.auc.value is None else cell.auc.value,
    )


def _rates(rows: Sequence[OverviewRow]) -> str:
    """Return how often the behaviour happened, by dataset."""
    each = [(row.dataset, share_text(row)) for row in rows if share_text(row)]
    if not each:
        return ""
    if rows[0].behaviour is None:
        return f"label 1 in {each[0][1]}."
    return f"{', '.join(f'{dataset} {share}' for dataset, share in each)}."


def share_text(row: OverviewRow) -> str:
    r"""Return how many samples of a dataset have label 1, empty where the study does not say.

    Example:
        >>> share_text(OverviewRow("flan", None, 120, 42, (), None, Measured(), False, None, None, None))
        '42 of 120 (35\xa0%)'
    """
    if not row.n or row.n_positive is None:
        return ""
    return f"{count_text(row.n_positive)} of {count_text(row.n)} ({100 * row.n_positive / row.n:.0f}\u00a0%)"


def _telling(row: OverviewRow, best: SignalCell) -> str:
    """Return the sentence about a behaviour that something inside tells."""
    weakly = " weakly" if best.verdict == "weak signal" else ""
    verb = "tell" if best.signal.endswith("s") and not best.signal.endswith("ss") else "tells"
    area = estimate_text(best.auc.value, best.auc.lower, best.auc.upper)
    text = f"{_capital(best.signal)} {verb} it{weakly}: AUC {area}"
    if best.increment.value is not None:
        text += f", {increment_text(best.increment)} over {_baselines(row)}"
    if row.n_counted is not None:
        text += f", {from_token_text(best.from_token, row.n_whole)}"
    others = []
    for cell in row.cells:
        if cell.predicts and cell is not best:
            earlier = cell.from_token is not None and (best.from_token is None or cell.from_token < best.from_token)
            others.append(f"{cell.signal} {from_token_text(cell.from_token, row.n_whole)}" if earlier else cell.signal)
    return f"{text}; also {_listed(others)}." if others else f"{text}."


def _silent(quiet: Sequence[OverviewRow], row: OverviewRow, best: SignalCell) -> str:
    """Return the sentence about a behaviour that nothing inside is shown to tell."""
    where = f" in {row.dataset}" if len(quiet) > 1 else ""
    text = f"Nothing inside is shown to tell it beyond {_baselines(row)}: the largest "
    text += f"increment, of {best.signal}{where}, is {increment_text(best.increment)}"
    if best.p_adjusted is not None:
        text += f", p {p_text(best.p_adjusted)}"
    if best.minimal_auc is not None:
        text += f"; an AUC below {number_text(best.minimal_auc, digits=2)} could go undetected"
    return f"{text}."


def _words(row: OverviewRow) -> str:
    """Say up to where signals are judged: where words alone tell the behaviour, or where the study ends."""
    if row.words_alone_from is None:
        return "" if row.n_counted is None or row.n_whole is not None else f" {_judged_text(row.n_counted)}"
    if row.words_alone_from == 0 or row.n_counted is None:
        return " The words of the prompt alone tell it, so no number here is about foretelling."
    return _words_from(f"token {row.words_alone_from}")


def _words_of(rows: Sequence[OverviewRow]) -> str:
    """Say the same of several datasets; where words tell the behaviour at different tokens, from which in which."""
    every = {_words(row) for row in rows}
    if len(every) == 1:
        return every.pop()
    places: dict[int, list[str]] = {}
    for row in sorted(rows, key=lambda one: one.words_alone_from or 0):
        if row.words_alone_from and row.n_counted is not None:
            places.setdefault(row.words_alone_from, []).append(row.dataset)
    if not places:
        return ""
    return _words_from(_listed([f"token {token} ({', '.join(datasets)})" for token, datasets in places.items()]))


def _words_from(tokens: str) -> str:
    return f" The words of the answer alone tell it from {tokens} on, so only what is known before counts."


def _judged_text(n_counted: int) -> str:
    if n_counted == 0:
        return "Judged before the first token of each answer."
    return f"Judged in the first {'token' if n_counted == 1 else f'{n_counted} tokens'} of each answer."


def _place(rows: Sequence[OverviewRow], every: Sequence[OverviewRow]) -> str:
    """Name the datasets that a sentence is about, where it is not about all of them."""
    return "" if len(rows) == len(every) else f"In {_listed([row.dataset for row in rows])}: "


def _baselines(row: OverviewRow) -> str:
    if row.baseline is None or row.baseline_auc.value is None:
        return "all baselines"
    best = "" if row.baseline == ALL_BASELINES else f"best, {row.baseline}: "
    return f"all baselines ({best}AUC {number_text(row.baseline_auc.value, digits=2)})"


def increment_text(one: Measured) -> str:
    """Return an increment with its interval.

    Example:
        >>> increment_text(Measured(0.031, -0.012, 0.07))
        '+0.03 [−0.01, 0.07]'
    """
    return f"{signed_text(one.value, digits=2)} {interval_text(one.lower, one.upper)}".rstrip()


def from_token_text(n_generated: int | None, n_whole: int | None) -> str:
    """Return in words from which generated token on a signal tells a behaviour.

    Args:
        n_generated: Number of generated tokens; None where it is from none.
        n_whole: Number of tokens at which every answer is whole.

    Example:
        >>> from_token_text(0, 48), from_token_text(4, 48), from_token_text(48, 48), from_token_text(None, 48)
        ('before the first token', 'from token 4 on', 'only with the whole answer', 'from no token on for certain')
    """
    if n_generated is None:
        return "from no token on for certain"
    if n_generated == 0:
        return "before the first token"
    return "only with the whole answer" if n_generated == n_whole else f"from token {n_generated} on"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
