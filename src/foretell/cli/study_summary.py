"""What `foretell study` prints at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foretell.stats.study import Study

__all__ = ["print_study"]


def print_study(result: Study) -> None:
    """Print what tells each behaviour, and which rows and labels were dropped.

    Args:
        result: A finished study.
    """
    from foretell.showing.report_data import ReportData
    from foretell.showing.terminal import say, say_skipped, show_overview

    show_overview(ReportData.from_study(result))
    ledger = result.ledger
    say(f"{ledger.n_read} rows read, {ledger.n_kept} kept")
    for reason, n_rows in ledger.entries.items():
        if n_rows:
            say(f"  dropped: {n_rows} rows ({reason})", style="yellow")
    for side, ids in (("label", ledger.unmatched_table_ids), ("row in the table", ledger.unmatched_label_ids)):
        if ids:
            say(f"  {len(ids)} ids without a {side}, such as {ids[0]}", style="yellow")
    for note in ledger.notes:
        say(f"  {note}", style="yellow")
    say_skipped(ledger.malformed)
