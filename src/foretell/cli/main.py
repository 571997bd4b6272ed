"""The command line: one thin function per verb, each a call of the function of the same name.

Exit codes: 0 done, 1 failed, 2 the input or the call is wrong (nothing was written). Progress goes to standard
error and only to a terminal; results go to standard output, without colour where it is piped.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretell.cli.cause_verbs import causes
from foretell.cli.comparison_verb import compare
from foretell.cli.direction_verbs import direction, steer, surface
from foretell.cli.label_verbs import export, label
from foretell.cli.monitor_verbs import monitor, watch
from foretell.cli.options import (
    FOLDER,
    GIVEN,
    GIVEN_FOLDER,
    GIVEN_PLACE,
    RUN_FOLDER,
    break_lock_option,
    conversations_argument,
    error_rate_option,
    errors_option,
    first_tokens_option,
    format_option,
    hidden_option,
    hold_results,
    ignore_option,
    model_argument,
    model_loader,
    model_options,
    new_option,
    opened_conversations,
    opened_model,
    overwrite_option,
    quiet_option,
    say_doing,
    scorer_option,
    seed_option,
    signals_option,
    temperature_option,
    workers_options,
)
from foretell.cli.run_verbs import check, show
from foretell.cli.serve_verb import serve
from foretell.cli.spans_verb import spans
from foretell.errors import ForetellError, missing_extra
from foretell.storage import writer_lock
from foretell.storage.targets import DEMO, MANIFEST, check_folder, next_free

if TYPE_CHECKING:
    from foretell.records.label_rows import LabelRows

__all__ = ["cli", "main"]


class _Verbs(click.Group):
    """Lists verbs in the order of the workflow, and names the extra that one lacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if (missing := missing_extra(error, f"foretell {ctx.invoked_subcommand}")) is None:
                raise
            raise missing from error


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="foretell", prog_name="foretell")
@click.pass_context
def cli(context: click.Context) -> None:
    """Do a language model's internals foretell what it does?

    Record attention per prompt segment and activity along directions while a model answers, label what it did, and
    test on held-out groups whether the signals predict the labels better than simple baselines.

    \b
    Start with:
      foretell demo --to demo              the whole pipeline on the embedded model
      foretell study TABLE --to results    statistics and report of an existing table
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), file=sys.stdout)


@cli.command()
@click.option("--to", type=FOLDER, default=Path("demo"), show_default=True, help="Output folder.")
@click.option("--quick", is_flag=True, help="Use a tenth of the prompts and facts, for testing.")
@overwrite_option
@seed_option
@quiet_option
def demo(to: Path, **options: Any) -> None:
    """Run the whole pipeline on the embedded model: answers, labels, signals, statistics, report.

    A second call reuses existing results.

    \b
    Example:
      foretell demo --to demo
    """
    check_folder(to, overwrite=options["overwrite"], resumes=DEMO)
    writer_lock.refuse_second_writer(to)
    from foretell.demo import run_demo
    from foretell.showing.report_folder import read_report_data
    from foretell.showing.terminal import say, show_overview

    report = run_demo(to, print_line=say, **options)
    show_overview(read_report_data(report.parent)[0])
    say(f"report: {report}", style="green")
    say(f"live page: foretell serve --folder {to}")


cli.add_command(spans)


@cli.command()
@model_argument
@conversations_argument
@click.option("--to", type=RUN_FOLDER, required=True, help="Folder or URL of the run; an unfinished run is resumed.")
@click.option("--answers", type=click.Choice(["given", "generate"]), default="given", show_default=True)
@format_option
@errors_option
@ignore_option
@scorer_option
@click.option("--direction", "directions", type=GIVEN, multiple=True, help="A saved direction; may be repeated.")
@click.option("--detail", is_flag=True, help="Also record contributions and entropies.")
@click.option("--rows", is_flag=True, help="Also store the masses of every generated token, in half precision; large.")
@hidden_option
@click.option(
    "--max-new-tokens", type=click.IntRange(1), default=64, show_default=True, help="Longest generated answer."
)
@temperature_option
@click.option(
    "--top-p",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Nucleus sampling: mass of the most likely tokens.",
)
@click.option("--strict", is_flag=True, help="Stop at the first sample that cannot be read.")
@click.option("--retry-failed", is_flag=True, help="Resumed: read again what could not be read before.")
@workers_options
@overwrite_option
@new_option
@break_lock_option
@model_options
def read(
    model: str,
    conversations: str,
    to: Path | str,
    directions: tuple[Path, ...],
    *,
    new: bool,
    break_lock: bool,
    **options: Any,
) -> None:
    """Record attention mass, activity and log-probabilities of MODEL on CONVERSATIONS, in one pass.

    MODEL is smollm2 (the embedded model), a folder, or a hub id. CONVERSATIONS is a file (also a log of inspect_ai or
    lm-evaluation-harness), "builtin" (the same as "builtin:instructions"), "builtin:questions", "builtin:false-claims"
    or "builtin:lies"; the last three also in other words, such as "builtin:questions:paraphrased" (or casual, negated).

    \b
    Examples:
      foretell read smollm2 builtin --answers generate --to run
      foretell read smollm2 builtin:questions --answers generate --max-new-tokens 24 --to run
      foretell read ./my-model log.eval --to run
      foretell read ./my-model prompts.jsonl --to run --direction lying.safetensors --hidden 8,16
      foretell read ./my-model prompts.jsonl --to run --workers 4 --gpus-per-worker 1

    A run that was stopped goes on where it stopped when it is called again. A sample that cannot be read is kept with
    the reason.
    """
    if new and options["overwrite"]:
        raise click.UsageError("'--new' keeps what '--overwrite' replaces; give one of them")
    named, to = to, next_free(to) if new else to
    check_folder(to, overwrite=options["overwrite"], resumes=MANIFEST)
    if break_lock:
        writer_lock.break_lock(to)
    writer_lock.refuse_second_writer(to)
    say_doing(f"opening {conversations}", options)
    import foretell
    from foretell.conversations.conversation import require_answers
    from foretell.conversations.harness_logs import note_on_writers
    from foretell.jobs.attempts import summary_of
    from foretell.jobs.request import check_before_loading
    from foretell.showing.terminal import say

    if to != named:
        say(f"{named} is taken; writing into {to}")
    samples = opened_conversations(conversations, options)
    if options["answers"] == "given":
        require_answers(samples)
    fitted = [foretell.Direction.load(path) for path in directions]
    check_before_loading(samples, answers=options["answers"], directions=fitted, to=to, overwrite=options["overwrite"])
    say_doing(f"loading {model}", options)
    loaded = opened_model(model, options) if options["workers"] is None else model_loader(model, options)
    if options["answers"] == "given" and (note := note_on_writers(samples, model)):
        say(f"  {note}", style="yellow")
    run = foretell.read(loaded, samples, to=to, directions=fitted, **options)
    unread = run.sample_columns(["reason"])["reason"].drop_nulls()
    say(f"{run.n_rows('samples')} samples, {run.n_rows('attention')} attention rows: {run.location}")
    for reason, count in summary_of(unread.to_list()):
        say(f"  not read: {count} ({reason})", style="yellow")


cli.add_command(check)
cli.add_command(show)
cli.add_command(label)
cli.add_command(export)
cli.add_command(direction)
cli.add_command(surface)
cli.add_command(steer)
cli.add_command(monitor)
cli.add_command(watch)
cli.add_command(serve)
cli.add_command(causes)


@cli.command()
@click.argument("table", type=GIVEN_PLACE)
@click.option("--labels", type=GIVEN, default=None, help="File with id and behavior_label, or a log.")
@scorer_option
@click.option("--metrics", default=None, help="Comma-separated columns; default: PAM_norm,QAM_norm,SAM_norm.")
@click.option("--group", default=None, help="Column of groups that are never split between training and test.")
@click.option("--stratum", default=None, help="Column with the task type; default: stratum, if it exists.")
@click.option(
    "--sum-tolerance",
    type=click.FloatRange(0.0, 1.0, max_open=True),
    default=None,
    help="Deviation of a sum of shares from 1 that is accepted.",
)
@errors_option
@error_rate_option
@first_tokens_option
@signals_option
@click.option("--to", type=FOLDER, required=True, help="Folder for the report, its tables and figures.")
@overwrite_option
@seed_option
@quiet_option
def study(
    table: Path | str, metrics: str | None, to: Path, overwrite: bool, scorer: str | None, **options: Any
) -> None:
    """Test whether the metrics of TABLE predict its labels. Needs no model and no torch.

    TABLE is a CSV or Parquet file (or folder of Parquet files) with id, dataset, layer, head and the metrics, or a run.

    \b
    Examples:
      foretell study attention.csv --labels labels.csv --to results
      foretell study run --to results
      foretell study run --signals "my probe=probe.csv" --to results
    """
    hold_results(to, overwrite=overwrite)
    import foretell
    from foretell.cli.study_summary import print_study
    from foretell.showing.run_facts import run_facts
    from foretell.showing.terminal import say
    from foretell.storage.runs import is_run

    chosen: dict[str, Any] = {} if metrics is None else {"metrics": tuple(name.strip() for name in metrics.split(","))}
    if scorer is not None:
        options["labels"] = _labels_by(scorer, options)
    run = foretell.open_run(table) if is_run(table) else None
    result = foretell.study(run or table, **chosen, **options)
    facts = None if run is None else run_facts(run)
    page = foretell.report(result, to, run_facts=facts, overwrite=overwrite, progress=options["progress"])
    print_study(result)
    say(f"report: {page}", style="green")


cli.add_command(compare)


@cli.command()
@click.argument("folder", type=GIVEN_FOLDER)
@click.option("--surface", "surfaces", type=GIVEN_FOLDER, multiple=True, help="Folder of a surface; can be repeated.")
@click.option("--to", type=FOLDER, default=None, help="Folder for the page; default: FOLDER itself.")
@overwrite_option
def report(folder: Path, surfaces: tuple[Path, ...], to: Path | None, overwrite: bool) -> None:
    """Render the report of a finished study again, from its tables, optionally with surfaces.

    \b
    Example:
      foretell report results --surface surface
    """
    to = to or folder
    hold_results(to, overwrite=overwrite or to.resolve() == folder.resolve())
    from foretell.showing.report import rerender
    from foretell.showing.terminal import say

    say(f"report: {rerender(folder, to, surfaces=surfaces, overwrite=overwrite)}", style="green")


def _labels_by(scorer: str, options: dict[str, Any]) -> LabelRows:
    """Return the labels of a log by one of its scores."""
    from foretell.records.label_rows import read_label_rows

    if options["labels"] is None:
        raise click.UsageError("--scorer names a score of the log that --labels names")
    return read_label_rows(options["labels"], extras=("group", "stratum"), errors=options["errors"], scorer=scorer)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Arguments after `foretell`; None: those of the process.

    Returns:
        0 done, 1 failed or stopped, 2 the input or the call is wrong.
    """
    # busy-waiting threads slow down a shared machine; torch reads this variable when it is imported
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _replace_what_cannot_be_written()
    try:
        ended = cli.main(args=arguments, prog_name="foretell", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.Abort:
        click.secho("stopped", file=sys.stderr, fg="yellow")
        return 1
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "foretell"
        return _refuse(f"{error.format_message()} (see `{where} --help`)", 2)
    except click.ClickException as error:
        return _refuse(error.format_message(), 2)
    except ForetellError as error:
        return _refuse(str(error), error.exit_code)
    except BrokenPipeError:  # who reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    return ended if isinstance(ended, int) else 0  # what a verb gave to `click.exceptions.Exit`


def _replace_what_cannot_be_written() -> None:
    """Let a terminal or pipe that is not UTF-8 show a question mark for what it has no character for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _refuse(message: str, exit_code: int) -> int:
    from foretell.showing.untrusted import visible

    click.secho(f"error: {visible(message)}", file=sys.stderr, fg="red")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
