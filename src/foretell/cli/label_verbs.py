"""The verbs for what is known of a run's answers: their labels, and one row for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foretell.cli.options import FILE, GIVEN, GIVEN_RUN, errors_option, overwrite_option, scorer_option

__all__ = ["export", "label"]


@click.command()
@click.argument("run", type=GIVEN_RUN)
@click.option(
    "--labels", type=GIVEN, default=None, help="File with id and behavior_label, or a log; default: verifiers."
)
@errors_option
@scorer_option
def label(run: Path | str, labels: Path | None, errors: Any, scorer: str | None) -> None:
    """Label the answers of RUN: by each prompt's verifier, or from a file by id.

    \b
    Examples:
      foretell label run
      foretell label run --labels judged.csv
      foretell label run --labels log.eval --scorer match
    """
    import foretell
    from foretell.labels.label import report_labels
    from foretell.records.label_rows import read_label_rows
    from foretell.records.matching_ids import match_labels
    from foretell.showing.terminal import say, say_skipped

    opened = foretell.open_run(run)
    given = None if labels is None else read_label_rows(labels, errors=errors, scorer=scorer)
    written = foretell.label(opened, labels=given)
    summary = report_labels(opened.samples, written)
    say(f"{summary.n_labelled} of {summary.n_samples} samples labelled, {summary.n_positive} of them 1")
    for reason, count in summary.reasons.items():
        say(f"  no label: {count} ({reason})", style="yellow")
    if given is not None:
        matched = match_labels(opened.samples.select("id", "dataset"), given, name="the run")
        say_skipped(given.skipped)
        for note in matched.notes:
            say(f"  {note}", style="yellow")
        if matched.unread:
            say(f"  labels of no sample: {len(matched.unread)}, such as {matched.unread[0]}", style="yellow")


@click.command()
@click.argument("run", type=GIVEN_RUN)
@click.option("--to", type=FILE, required=True, help="File: .parquet, .jsonl or .csv.")
@overwrite_option
def export(run: Path | str, to: Path, overwrite: bool) -> None:
    """Write labels and scores of RUN, one row per sample, for dataframes and other tools.

    \b
    Example:
      foretell export run --to scores.parquet
    """
    import foretell
    from foretell.showing.terminal import say

    frame = foretell.export(run, to, overwrite=overwrite)
    say(f"{frame.height} samples, {frame.width} columns: {to}")
