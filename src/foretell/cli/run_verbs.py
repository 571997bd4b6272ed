"""The verbs that look at what is there already: `check` a run, `show` whatever foretell wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from foretell.cli.options import PLACE, break_lock_option
from foretell.errors import InputError

__all__ = ["check", "show"]


@click.command()
@click.argument("run", type=PLACE)
@click.option("--repair", is_flag=True, help="Remove what is broken, so that the call that read RUN reads it again.")
@click.option("--compact", is_flag=True, help="Put the rows of many parts into few sorted files, if RUN is whole.")
@break_lock_option
def check(run: Path | str, repair: bool, compact: bool, break_lock: bool) -> None:
    """Check that RUN is whole: every file as it was written, every sample complete in every table.

    Prints one line for each damaged file and exits 1 if there is one. RUN is a folder or a URL.

    \b
    Examples:
      foretell check run
      foretell check run --repair
    """
    from foretell.showing.terminal import say
    from foretell.storage.runs import Run
    from foretell.storage.targets import COPY
    from foretell.storage.upkeep.check import check_run
    from foretell.storage.writer_lock import break_lock as remove_lock

    opened = Run.at(run)
    if not opened.is_there() and not opened.exists(COPY):
        raise InputError(f"{opened.location}: is no run (no manifest.json); make one with `foretell read`")
    if break_lock:
        remove_lock(opened.location)
    found = check_run(opened)
    for damage in found.damages:
        say(f"{damage}", style="red")
    for name in found.leftovers:
        say(f"  no part of the run, and harmless: {name}", style="yellow")
    state = "finished" if found.finished else "unfinished"
    if found.damages and repair:
        opened.repair()
        say("repaired: what was broken is removed; make the call that read the run again", style="green")
    elif found.damages:
        say(f"{len(found.damages)} damaged: {opened.location} ({found.n_parts} parts, {state})", style="red")
    else:
        say(f"whole: {found.n_samples} samples in {found.n_parts} parts, {state}: {opened.location}", style="green")
        if repair:
            opened.repair()
        if compact:
            opened.compact()
            say(f"compacted: {len(opened.parts)} parts", style="green")
    if found.damages and not repair:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("result", type=PLACE)
def show(result: Path | str) -> None:
    """Show what is in RESULT, in a screenful: a run, a study, a direction.

    \b
    Examples:
      foretell show run
      foretell show results
      foretell show lying.safetensors
    """
    for is_kind, show_kind in _KINDS:
        if is_kind(result):
            show_kind(result)
            return
    if isinstance(result, Path) and not result.exists():
        raise InputError(f"{result}: there is no such file or folder")
    raise InputError(f"{result}: is neither a run, nor a study, nor a direction")


def _is_run(result: Path | str) -> bool:
    from foretell.storage.runs import is_run

    return is_run(result)


def _is_study(result: Path | str) -> bool:
    return isinstance(result, Path) and (result / "study.json").is_file()


def _is_direction(result: Path | str) -> bool:
    return isinstance(result, Path) and result.is_file() and result.suffix == ".safetensors"


def _show_run(result: Path | str) -> None:
    import foretell
    from foretell.showing.run_summary import show_run

    show_run(foretell.open_run(result))


def _show_study(result: Path | str) -> None:
    from foretell.showing.report_folder import read_report_data
    from foretell.showing.terminal import say, show_overview

    data, title = read_report_data(result)
    say(f"study {result}{f': {title}' if title else ''}")
    if data.facts.model:
        say(f"  model      {data.facts.model}, {data.facts.n_conversations} conversations")
    settings = ", ".join(f"{key} {value}" for key, value in data.settings.items() if value not in (None, (), [], {}))
    say(f"  settings   {settings}")
    if data.ledger is not None:
        dropped = "".join(f", {rows} dropped ({reason})" for reason, rows in data.ledger.dropped if rows)
        say(f"  rows       {data.ledger.n_read} read, {data.ledger.n_kept} kept{dropped}")
    show_overview(data)


def _show_direction(result: Path | str) -> None:
    import foretell
    from foretell.showing.terminal import say, show_table

    direction = foretell.Direction.load(result)
    source = direction.source
    layers = [layer for layer, reason in enumerate(direction.reasons) if reason is None]
    say(f'direction {result}: "{direction.concept}"')
    say(f"  layers     {len(layers)} of {direction.n_layers}, {direction.width} wide")
    say(f"  model      {source.model}, weights {source.fingerprint}, template {source.template or 'not recorded'}")
    say(f"  method     {source.method}, hidden states: {source.tokens}, seed {source.seed}, foretell {source.version}")
    say(f"  pairs      {source.n_pairs}, topics: {', '.join(source.topics) or 'none'}")
    say(f"  scale      {source.n_calibration_tokens} tokens of {source.n_calibration_pairs} pairs")
    for layer, reason in enumerate(direction.reasons):
        if reason is not None:
            say(f"  layer {layer}: none ({reason})", style="yellow")
    judged = Path(result).parent / "directions.parquet"
    if judged.is_file():
        import polars as pl

        columns = ["measure", "layer", "auc", "auc_lower", "auc_upper", "pair_accuracy"]
        show_table(f"Held-out scores ({judged})", columns, pl.read_parquet(judged).select(columns).rows())
    else:
        say("  held-out   scores are written by foretell direction --tables FOLDER, and shown where they lie beside it")


_KINDS: tuple[tuple[Callable[[Path | str], bool], Callable[[Path | str], None]], ...] = (
    (_is_run, _show_run),
    (_is_study, _show_study),
    (_is_direction, _show_direction),
)
"""What can be shown, by what a path is."""
