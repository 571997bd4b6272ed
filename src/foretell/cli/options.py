"""Options that several verbs share, and loading of the model they name."""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretell.errors import MissingExtraError
from foretell.storage.targets import held_folder

if TYPE_CHECKING:
    from foretell.conversations.conversation import Conversation
    from foretell.reading.models.load import Model

__all__ = [
    "BUILTIN",
    "FILE",
    "FOLDER",
    "GIVEN",
    "GIVEN_FOLDER",
    "GIVEN_PLACE",
    "GIVEN_RUN",
    "PLACE",
    "RUN_FOLDER",
    "break_lock_option",
    "check_model",
    "conversations_argument",
    "error_rate_option",
    "errors_option",
    "first_tokens_option",
    "format_option",
    "given_layers",
    "given_numbers",
    "hidden_option",
    "hold_results",
    "ignore_option",
    "model_argument",
    "model_loader",
    "model_options",
    "new_option",
    "opened_conversations",
    "opened_model",
    "overwrite_option",
    "quiet_option",
    "say_doing",
    "scorer_option",
    "seed_option",
    "signals_option",
    "temperature_option",
    "trust_option",
    "workers_options",
]

BUILTIN = "builtin"
"""Name of the conversations that are part of foretell; `builtin:questions` and the like name one of their sets."""
GIVEN = click.Path(exists=True, path_type=Path)
"""A file, or a folder of its parts, that is read."""
GIVEN_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class _Place(click.Path):
    """A path, or the URL of one on a file system that fsspec knows."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a URL as it is and everything else as a path."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


PLACE = _Place(path_type=Path)
"""A folder, file or URL."""
GIVEN_PLACE = _Place(exists=True, path_type=Path)
"""A file or folder that is read, or a URL."""
GIVEN_RUN = _Place(exists=True, file_okay=False, path_type=Path)
"""A run that is read."""
RUN_FOLDER = _Place(file_okay=False, path_type=Path)
"""A folder or URL that a run is written to."""
FILE = click.Path(dir_okay=False, path_type=Path)
"""A file that is written."""
FOLDER = click.Path(file_okay=False, path_type=Path)
"""A folder that is written."""
format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "jsonl", "parquet", "csv", "alpaca", "sharegpt", "flan"]),
    default="auto",
    show_default=True,
)
errors_option = click.option(
    "--errors",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="Refuse a file with a malformed record, or skip and list such records.",
)
ignore_option = click.option("--ignore", multiple=True, help="A field with text that is not read; may be repeated.")


def _layers(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    """Return layers, or "all"; whether the model has them is found out when it is there."""
    if value in {None, "all"}:
        return value
    try:
        return [int(layer) for layer in str(value).split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither all nor layers such as 8,16") from None


def _families(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Path] | None:
    """Return files by name; a file without a name is named after itself."""
    found: dict[str, Path] = {}
    for value in values:
        name, given, file = value.partition("=")
        if not given or Path(value).exists():
            name, file = Path(value).stem, value
        if name in found:
            raise click.BadParameter(f"two families are named {name!r}: use NAME=FILE", context, parameter)
        found[name] = Path(GIVEN.convert(file, parameter, context))
    return found or None


hidden_option = click.option(
    "--hidden",
    metavar="LAYERS",
    default=None,
    callback=_layers,
    help="Also store hidden states of these layers (8,16, or all), pooled over prompt and answer.",
)
signals_option = click.option(
    "--signals",
    metavar="[NAME=]FILE",
    multiple=True,
    callback=_families,
    help="Further signals of a run by id (CSV, Parquet, .npz, .npy, .safetensors); may be repeated.",
)
scorer_option = click.option(
    "--scorer", default=None, help="Score of an evaluation log that labels its answers; default: see the docs."
)
temperature_option = click.option(
    "--temperature",
    type=click.FloatRange(0.0, math.inf, max_open=True),
    default=0.0,
    show_default=True,
    help="0: greedy; above 0: sampling with --seed.",
)
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed.")
error_rate_option = click.option(
    "--error-rate",
    type=click.FloatRange(0.0, 0.5, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of studies of noise that may say signal or weak signal of anything.",
)
first_tokens_option = click.option(
    "--first-tokens",
    type=click.IntRange(0),
    default=None,
    help="Judge a run's signals in the first so many tokens of each answer: 0 (before it), 1, 2, 4, 8, ...",
)
quiet_option = click.option("--quiet", "progress", flag_value=False, default=None, help="No progress bars.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what --to holds already.")
new_option = click.option("--new", is_flag=True, help="Take the next free name (run-2) where --to is taken.")
break_lock_option = click.option(
    "--break-lock", is_flag=True, help="Remove the lock of a writer on another host that is known to be gone."
)
trust_option = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that is part of the model. Off by default."
)
_dtype_option = click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True
)
_device_option = click.option(
    "--device", default=None, help="Such as cpu, cuda or mps; default: chosen by the library."
)
_workers_option = click.option(
    "--workers", type=click.IntRange(1), default=None, help="Read in so many processes, each with the model (by Ray)."
)
_gpus_option = click.option(
    "--gpus-per-worker",
    type=click.FloatRange(0.0),
    default=None,
    help="Graphics processors of each; may be a fraction.",
)
_address_option = click.option(
    "--address", default=None, help="Ray cluster of the workers: auto, or host:port; default: this machine."
)


def _checked_model(context: click.Context, _parameter: click.Parameter, name: str) -> str:
    return check_model(context, name)


def check_model(context: click.Context, name: str) -> str:
    """Return the name of a model; refuse one that is nowhere, or that nothing here can load, before anything heavy."""
    from foretell.jobs.model_files import check_place

    if not all(map(_is_installed, ("torch", "transformers"))):
        raise MissingExtraError("models", f"foretell {context.info_name}")
    check_place(name)
    return name


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # as finders say that hide it
        return False


def _checked_conversations(context: click.Context, parameter: click.Parameter, source: str) -> str:
    """Refuse a file or a built-in set that does not exist before anything heavy is loaded."""
    name, colon, _set = source.partition(":")
    if name != BUILTIN:
        return str(GIVEN.convert(source, parameter, context))
    from foretell.conversations.set_names import BUILTIN_SETS

    dataset = _set.partition(":")[0]
    if colon and dataset not in BUILTIN_SETS:
        sets = ", ".join(f"{BUILTIN}:{known}" for known in BUILTIN_SETS)
        raise click.BadParameter(f"there is no built-in set {dataset!r}: use {sets}", context, parameter)
    return source


model_argument = click.argument("model", callback=_checked_model)
conversations_argument = click.argument("conversations", callback=_checked_conversations)


def model_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every verb that runs a model."""
    return _dtype_option(_device_option(trust_option(seed_option(quiet_option(verb)))))


def workers_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a verb that several processes may do; it gets them as one, `workers`."""

    @functools.wraps(verb)
    def with_workers(
        *words: Any, workers: int | None, gpus_per_worker: float | None, address: str | None, **options: Any
    ) -> None:
        pool = None
        if workers is not None:
            from foretell.jobs.ray_pool import Workers

            pool = Workers(workers, gpus_per_worker or 0.0, address)
        elif gpus_per_worker is not None or address is not None:
            raise click.UsageError("--gpus-per-worker and --address say where --workers are")
        verb(*words, workers=pool, **options)

    for option in (_address_option, _gpus_option, _workers_option):
        with_workers = option(with_workers)
    return with_workers


def hold_results(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder for results that holds something or that somebody writes into, and hold it until the verb ends.

    Raises:
        InputError: See `foretell.storage.targets.held_folder`.
    """
    click.get_current_context().with_resource(held_folder(folder, overwrite=overwrite))


def say_doing(what: str, options: dict[str, Any]) -> None:
    """Say on a terminal what is being done, where that takes longer than one likes to look at nothing."""
    if sys.stderr.isatty() and options["progress"] is not False:
        click.echo(f"{what} ...", err=True)


def model_loader(name: str, options: dict[str, Any]) -> Callable[[], Model]:
    """Return what loads a verb's model, and remove the options for loading from `options`."""
    import foretell

    settings = {key: options.pop(key) for key in ("dtype", "device", "trust_remote_code")}
    return functools.partial(foretell.load_model, name, **settings)


def opened_model(name: str, options: dict[str, Any]) -> Model:
    """Load a verb's model, and remove the options for loading from `options`."""
    return model_loader(name, options)()


def opened_conversations(source: str, options: dict[str, Any]) -> list[Conversation]:
    """Return the conversations a verb names, and remove the options for reading them from `options`."""
    import foretell

    settings = {name: options.pop(name) for name in ("errors", "ignore", "scorer")}
    format_ = options.pop("format_")
    name, _, chosen = source.partition(":")
    if name == BUILTIN:
        dataset, _, wording = chosen.partition(":")
        return foretell.builtin_conversations(dataset or None, wording=wording or "usual")
    from foretell.showing.terminal import say_skipped

    found = foretell.read_conversations(source, format=format_, **settings)
    say_skipped(found.skipped)
    return found


def given_layers(text: str | None) -> list[int] | None:
    """Return layers of a comma-separated list; None where there is none."""
    if text is None:
        return None
    numbers = given_numbers(text, "layers")
    if any(number != int(number) for number in numbers):
        raise click.BadParameter(f"{text!r} is no list of whole numbers", param_hint="--layers")
    return [int(number) for number in numbers]


def given_numbers(text: str, name: str) -> list[float]:
    """Return the finite numbers of a comma-separated list."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise click.BadParameter(f"{text!r} is no list of numbers", param_hint=f"--{name}")
    return numbers
