"""The verb for causes: what predicts a behaviour beside what causes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from foretell.cli.options import (
    FILE,
    FOLDER,
    GIVEN,
    GIVEN_FOLDER,
    given_layers,
    given_numbers,
    hold_results,
    model_argument,
    model_options,
    opened_model,
    overwrite_option,
)

__all__ = ["causes"]

_SHOWN = ("component", "auc", "p_predicts", "label_changed", "p_label", "odds_loss", "p_odds", "verdict")


def _heads(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    """Return a number of heads, or heads by layer and number."""
    if value is None:
        return None
    if value.isdigit():
        return int(value)
    if not re.fullmatch(r"\d+\.\d+(,\d+\.\d+)*", value):
        raise click.BadParameter(f"{value!r} is neither a number of heads nor heads such as 3.5,7.1 (layer.head)")
    return [tuple(map(int, one.split("."))) for one in value.split(",")]


@click.command()
@model_argument
@click.argument("run", type=GIVEN_FOLDER)
@click.option("--monitor", "saved", type=FILE, default=None, help="Test the parts of this monitor.")
@click.option("--behaviour", default=None, help="Behaviour or dataset of RUN; default: its only behaviour.")
@click.option(
    "--heads",
    callback=_heads,
    default=None,
    help="Heads as layer.head (3.5,7.1), or how many of the best on training groups; default: the monitor's, or 4.",
)
@click.option("--segment", "segments", multiple=True, help="Also test each head without this segment; repeatable.")
@click.option("--together", is_flag=True, help="Also test all heads at once.")
@click.option("--direction", "directions", type=GIVEN, multiple=True, help="A direction to remove; repeatable.")
@click.option("--layers", default=None, help="Comma-separated, for directions.")
@click.option(
    "--doses", default=None, help="Comma-separated standard deviations of the directions that are also added."
)
@click.option(
    "--ablation",
    type=click.Choice(["zero", "mean", "resample"]),
    default="mean",
    show_default=True,
    help="What takes the place of what is ablated.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    default=None,
    help="Share of the groups that effects are measured on; default: those unknown to the monitor, or 0.5.",
)
@click.option(
    "--controls",
    "n_controls",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Other heads, or random directions, that each part is compared with.",
)
@click.option(
    "--max-new-tokens", type=click.IntRange(0), default=None, help="Longest answer; default: as in RUN; 0: none."
)
@click.option(
    "--error-rate",
    type=click.FloatRange(0.0, 0.5, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of tables without any effect that may say predicts or causes of any part.",
)
@click.option("--to", type=FOLDER, required=True, help="Output folder for the figure and its table.")
@overwrite_option
@model_options
def causes(model: str, run: Path, saved: Path | None, to: Path, overwrite: bool, **options: Any) -> None:
    """Set what predicts the labels of RUN beside what causes them, by changing heads and directions of MODEL.

    On held-out groups each head is ablated, each direction removed or added; MODEL answers again, the answers are
    labelled again, and the log-odds of a right and a wrong answer are read. Effects are compared with those of random
    other heads and directions. Verdicts: predicts and causes, predicts only, causes only, neither, cannot say.

    \b
    Examples:
      foretell causes smollm2 run --heads 4 --to causes
      foretell causes smollm2 run --monitor monitor.safetensors --segment query --to causes
      foretell causes smollm2 run --heads 0 --direction lying.safetensors --layers 14 --doses -4,4 --to causes
    """
    layers, doses = given_layers(options.pop("layers")), options.pop("doses")
    doses = () if doses is None else given_numbers(doses, "doses")
    hold_results(to, overwrite=overwrite)
    import foretell

    monitor = None if saved is None else foretell.Monitor.load(saved)
    directions = [foretell.Direction.load(path) for path in options.pop("directions")]
    from foretell.showing.report import save_table
    from foretell.showing.terminal import say, show_table

    loaded = opened_model(model, options)
    table = foretell.causes(loaded, run, monitor, directions=directions, layers=layers or (), doses=doses, **options)
    show_table("What predicts, and what causes", list(_SHOWN), table.select(_SHOWN).rows())
    for component, reason in table.filter(table["reason"].is_not_null()).select("component", "reason").iter_rows():
        say(f"{component}: {reason}", style="yellow")
    page = save_table(table, to, model=loaded.name, overwrite=overwrite, progress=options["progress"], kind="causes")
    say(f"causes: {page}", style="green")
