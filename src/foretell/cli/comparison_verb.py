"""The verb `compare`: two runs or tables side by side."""

from __future__ import annotations

from pathlib import Path

import click

from foretell.cli.options import FOLDER, GIVEN_PLACE, hold_results, overwrite_option, seed_option
from foretell.errors import InputError

__all__ = ["compare"]

_COLUMNS = ("dataset", "kind", "what", "first", "second", "difference", "lower", "upper", "p_adjusted")


@click.command()
@click.argument("first", type=GIVEN_PLACE)
@click.argument("second", type=GIVEN_PLACE)
@click.option("--to", type=FOLDER, required=True, help="Folder for tables, figures and comparison.json.")
@overwrite_option
@seed_option
def compare(first: Path | str, second: Path | str, to: Path, *, overwrite: bool, seed: int) -> None:
    """Compare two models, two prompts, or before and after fine-tuning: FIRST minus SECOND.

    FIRST and SECOND are runs, or tables that `foretell study` takes. Samples are joined by dataset and id: how often
    the behaviour happens, how well detectors and heads tell it, and what heads attend to, with paired intervals and
    one error rate over all.

    \b
    Examples:
      foretell compare run-before run-after --to comparison
      foretell compare smollm2.csv qwen.csv --to comparison
    """
    hold_results(to, overwrite=overwrite)
    import foretell
    from foretell.showing.draw_matplotlib import to_matplotlib
    from foretell.showing.terminal import say, show_table
    from foretell.storage.atomic import written_whole

    found = foretell.compare(first, second, seed=seed)
    for name in ("differences", "attention", "head AUC"):
        try:
            canvas = found.plot(name)
        except InputError:  # heads were not compared; the notes say why
            continue
        for kind in ("png", "svg"):
            with written_whole(to / "figures" / f"{name.replace(' ', '-').lower()}.{kind}") as draft:
                draft.write_bytes(to_matplotlib.render(canvas, "png" if kind == "png" else "svg"))
    files = found.write(to)
    show_table(f"{found.names[0]} minus {found.names[1]}", _COLUMNS, found.table.select(_COLUMNS).rows())
    for note in found.notes:
        say(f"  {note}", style="yellow")
    say(f"comparison: {files[-1]}", style="green")
