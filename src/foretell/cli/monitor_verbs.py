"""The verbs for monitors: fit, apply and show one, try it under shift, and watch a model with it."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretell.cli.options import (
    FILE,
    GIVEN,
    GIVEN_FOLDER,
    model_argument,
    model_options,
    opened_model,
    overwrite_option,
    quiet_option,
    seed_option,
    temperature_option,
)
from foretell.errors import InputError, located
from foretell.storage.targets import check_file

if TYPE_CHECKING:
    from foretell.conversations.conversation import Conversation
    from foretell.monitors.monitor import Monitor

__all__ = ["monitor", "watch"]

_SHARE = click.FloatRange(0.0, 1.0, min_open=True, max_open=True)


@click.group()
def monitor() -> None:
    """Fit, apply, show and try monitors: detectors with a threshold whose false-alarm rate is bounded.

    \b
    Examples:
      foretell monitor fit run --to monitor.safetensors --max-false-positive-rate 0.05
      foretell monitor apply monitor.safetensors other-run
      foretell monitor show monitor.safetensors
      foretell monitor shift monitor.safetensors sampled=run-sampled other-run --to shifts.csv
      foretell monitor drift monitor.safetensors new-run
    """


def _moments(_context: click.Context, _parameter: click.Parameter, value: str) -> int | str:
    return int(value) if value.isdigit() else value


@monitor.command()
@click.argument("run", type=GIVEN_FOLDER)
@click.option("--to", type=FILE, required=True, help="File for the monitor, such as monitor.safetensors.")
@click.option("--behaviour", default=None, help="Behaviour or dataset of RUN; default: its only behaviour.")
@click.option(
    "--max-false-positive-rate",
    type=_SHARE,
    default=0.01,
    show_default=True,
    help="Largest share of new groups of label 0 with a false alarm.",
)
@click.option(
    "--confidence", type=_SHARE, default=0.95, show_default=True, help="Probability that the rate keeps below that."
)
@click.option("--signal", "signals", multiple=True, help="A family it may look at; may be repeated; default: all.")
@click.option("--direction", "directions", type=GIVEN, multiple=True, help="A direction that RUN was read with.")
@click.option(
    "--scored-at",
    default="checkpoints",
    show_default=True,
    callback=_moments,
    help='"checkpoints" (1, 2, 4, ... tokens and the end), "every token", or one of 1, 2, 4, ...',
)
@click.option("--max-heads", type=click.IntRange(1), default=16, show_default=True)
@click.option("--max-layers", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--calibration", type=_SHARE, default=0.4, show_default=True, help="Share of the groups for the threshold."
)
@click.option(
    "--baseline/--no-baseline", default=True, show_default=True, help="Compare with the best baseline at the same rate."
)
@click.option("--allow-no-threshold", is_flag=True, help="With too few groups, save a monitor that never alarms.")
@overwrite_option
@seed_option
@quiet_option
def fit(run: Path, to: Path, signals: tuple[str, ...], directions: tuple[Path, ...], **options: Any) -> None:
    """Fit a monitor on the labelled answers of RUN. Needs no model and no torch.

    \b
    Examples:
      foretell monitor fit run --to monitor.safetensors --max-false-positive-rate 0.01 --confidence 0.95
      foretell monitor fit run --to monitor.safetensors --signal attention --max-heads 8
    """
    overwrite = options.pop("overwrite")
    check_file(to, overwrite=overwrite)
    import foretell

    fitted = foretell.fit_monitor(
        run,
        signals=signals or None,
        directions=[foretell.Direction.load(path) for path in directions],
        **options,
    )
    fitted.save(to, overwrite=overwrite)
    _describe(fitted)
    from foretell.showing.terminal import say

    say(f"monitor: {to}", style="green")


@monitor.command()
@click.argument("file", type=FILE)
@click.argument("run", type=GIVEN_FOLDER)
@click.option("--to", type=FILE, default=None, help="File for the scores: .parquet, .jsonl or .csv.")
@overwrite_option
def apply(file: Path, run: Path, to: Path | None, overwrite: bool) -> None:
    """Score the answers of RUN with the monitor in FILE. Needs no model and no torch.

    \b
    Example:
      foretell monitor apply monitor.safetensors run --to scores.csv
    """
    if to is not None:
        check_file(to, overwrite=overwrite)
    import foretell
    from foretell.monitors.recall import by_answer, found_rates
    from foretell.monitors.shifts.drift import drift_sentence
    from foretell.showing.terminal import say, show_table
    from foretell.storage.export import check_kind, write_frame

    if to is not None:
        check_kind(to)
    opened = foretell.open_run(run)
    loaded = foretell.Monitor.load(file)
    scores = loaded.apply(opened)
    answers = by_answer(scores)
    show_table("Answers", ["id", "highest score", "probability", "first alarm"], answers.head(20).rows())
    if answers.height > 20:
        say(f"  and {answers.height - 20} more answers" + (" (all of them: --to FILE)" if to is None else ""))
    rates = found_rates(answers, opened.samples)
    if rates:
        show_table("By label", ["", "share with an alarm", "lower", "upper", "answers", "groups"], rates)
    say(drift_sentence(foretell.drift(loaded, opened)))
    if to is not None:
        write_frame(scores, to)
        say(f"scores: {to}", style="green")


@monitor.command()
@click.argument("file", type=FILE)
def show(file: Path) -> None:
    """Show what the monitor in FILE looks at, what it was made from, what its threshold guarantees and what it adds.

    \b
    Example:
      foretell monitor show monitor.safetensors
    """
    import foretell

    _describe(foretell.Monitor.load(file))


_allow_option = click.option(
    "--allow",
    multiple=True,
    help="What may differ from the monitor's model: weights, template, precision; may be repeated.",
)
_behaviour_option = click.option("--behaviour", default=None, help="Behaviour or dataset; default: the monitor's.")


def _named_runs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """Return folders by name: of NAME=FOLDER that name, of a folder its own."""
    found: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not equals or Path(value).exists():
            name, folder = Path(value).resolve().name, value
        if name in found:
            raise click.BadParameter(f"two runs are called {name!r}: write NAME={folder}", context, parameter)
        found[name] = GIVEN_FOLDER.convert(folder, parameter, context)
    return found


@monitor.command()
@click.argument("file", type=FILE)
@click.argument("runs", nargs=-1, required=True, callback=_named_runs)
@click.option("--by", default=None, help="Parts of each run: dataset, stratum, length, or a column of its samples.")
@_behaviour_option
@_allow_option
@click.option("--keep-seen", is_flag=True, help="Count groups that the monitor was made from.")
@click.option("--to", type=FILE, default=None, help="File for the table: .parquet, .jsonl or .csv.")
@overwrite_option
@seed_option
def shift(file: Path, runs: dict[str, Path], to: Path | None, **options: Any) -> None:
    """Try the monitor in FILE on labelled RUNS, each NAME=FOLDER or a folder: does its false-positive rate hold there?

    \b
    Examples:
      foretell monitor shift monitor.safetensors sampled=run-sampled casual=run-casual --to shifts.csv
      foretell monitor shift monitor.safetensors other-run --by length
      foretell monitor shift monitor.safetensors half=run-half --allow precision
    """
    overwrite = options.pop("overwrite")
    from foretell.storage.export import check_kind, write_frame

    if to is not None:
        check_file(to, overwrite=overwrite)
        check_kind(to)
    import foretell
    from foretell.showing.terminal import say, show_table

    table = foretell.shift(foretell.Monitor.load(file), runs, **options)
    shown = ["run", "part", "verdict", "n_more_needed", "false_positive_rate", "n_negative_groups", "recall", "drift_p"]
    titles = ["run", "part", "verdict", "more needed", "false-positive rate", "groups", "recall", "drift p"]
    show_table("Shifts", titles, table.select(shown).rows())
    for row in table.filter(table["reason"].is_not_null()).iter_rows(named=True):
        say(f"  {row['run']}, {row['part']}: {row['reason']}")
    if to is not None:
        write_frame(table, to)
        say(f"shifts: {to}", style="green")


@monitor.command()
@click.argument("file", type=FILE)
@click.argument("run", type=GIVEN_FOLDER)
@_behaviour_option
@_allow_option
@seed_option
def drift(file: Path, run: Path, **options: Any) -> None:
    """Say whether the answers of RUN look like those that the monitor in FILE was made from. Needs no labels.

    \b
    Example:
      foretell monitor drift monitor.safetensors new-run
    """
    import foretell
    from foretell.monitors.shifts.drift import drift_sentence
    from foretell.showing.terminal import say, show_table

    found = foretell.drift(foretell.Monitor.load(file), run, **options)
    say(drift_sentence(found))
    if found.reason is None:
        titles = ["number", "distance", "probability above", "p-value"]
        show_table("Most different", titles, found.columns.head(10).rows())


def _describe(shown: Monitor) -> None:
    from foretell.monitors.described import described
    from foretell.showing.terminal import say, show_table

    for line in described(shown):
        say(line)
    if shown.threshold.reason is not None:
        say(f"no threshold: {shown.threshold.reason}", style="yellow")
    elif shown.recall.caught_by:
        rows = [(moment, share) for moment, share in shown.recall.caught_by.items()]
        show_table("Caught by then, of positive calibration answers", ["tokens", "share"], rows)


@click.command()
@model_argument
@click.argument("file", type=FILE)
@click.option("--prompts", type=GIVEN, default=None, help="File of prompts; default: standard input.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Prompts answered at a time.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=64, show_default=True, help="Longest answer.")
@temperature_option
@click.option("--every", type=click.IntRange(1), default=None, help="Also score after every so many tokens.")
@click.option("--stop", is_flag=True, help="End an answer at its first alarm.")
@model_options
def watch(model: str, file: Path, prompts: Path | None, batch: int, **options: Any) -> None:
    """Let MODEL answer prompts while the monitor in FILE watches; writes one JSON line per answer.

    A prompt is a line: a text, or a JSON record of any shape that `foretell read` takes. Each answer is written as soon
    as its batch is done: id, answer, n_generated, alarm (tokens at the first alarm, or null), scores.

    \b
    Examples:
      foretell watch smollm2 monitor.safetensors --prompts prompts.jsonl --batch 8 --stop
      echo "Who wrote Emma?" | foretell watch smollm2 monitor.safetensors
    """
    import foretell

    loaded_monitor = foretell.Monitor.load(file)
    loaded = opened_model(model, options)
    loaded_monitor.check_model(loaded)
    from foretell.monitors.live.watched_answers import watched_answers
    from foretell.reading.runs.answers import Sampling

    sampling = Sampling(options["max_new_tokens"], options["temperature"], seed=options["seed"])
    with click.open_file(str(prompts or "-"), encoding="utf-8") as lines:
        found = _conversations(lines, str(prompts or "standard input"))
        while some := list(itertools.islice(found, batch)):
            answers = watched_answers(
                loaded, loaded_monitor, some, stop=options["stop"], every=options["every"], sampling=sampling
            )
            for one in answers:
                scores = [
                    {name: _number(getattr(score, name)) for name in ("n_generated", "score", "probability", "alarm")}
                    for score in one.scores
                ]
                line = {"id": one.id, "answer": one.answer, "n_generated": one.n_generated, "alarm": one.alarm}
                click.echo(json.dumps({**line, "scores": scores}), file=sys.stdout)
                sys.stdout.flush()


def _number(value: float) -> float | None:
    """Return a number as JSON has it."""
    return value if math.isfinite(value) else None


def _conversations(lines: Iterable[str], name: str) -> Iterator[Conversation]:
    """Yield a conversation per line; blank lines are none."""
    from dataclasses import replace

    from foretell.conversations.formats import as_conversations

    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        given: Any = {"query": line.strip()}
        if line.lstrip()[0] in "{[":
            try:
                given = json.loads(line)
            except ValueError as error:
                raise InputError(located(name, f"is no JSON ({error}); write a text or one record", row=row)) from error
        for one in as_conversations(given):
            has_id = isinstance(given, dict) and "id" in given
            yield one if has_id else replace(one, id=f"line-{row}", group=None)
