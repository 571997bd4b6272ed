"""The verb `serve`: a local page on which a model answers and is read while it does."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING, Any

import click

from foretell.cli.options import GIVEN, GIVEN_FOLDER, check_model, model_loader, model_options, say_doing
from foretell.errors import MissingExtraError, ModelError
from foretell.jobs.model_files import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from foretell.directions.direction import Direction
    from foretell.reading.models.load import Model

__all__ = ["serve"]

_FACTS_PER_TOPIC = 6
"""Of the direction that is fitted where there is none: enough to see something, in seconds."""


def _checked_models(context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse models that are nowhere; none named is the embedded one."""
    chosen = tuple(dict.fromkeys(names)) or (EMBEDDED,)
    for name in chosen:
        check_model(context, name)
    return chosen


def _has_embedded() -> bool:
    """Say whether the embedded model is installed."""
    from foretell.jobs.model_files import packaged_gguf

    with contextlib.suppress(ModelError):
        return packaged_gguf().is_file()
    return False


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...", callback=_checked_models)
@click.option("--direction", "directions", type=GIVEN, multiple=True, help="A saved direction; may be repeated.")
@click.option("--monitor", "monitors", type=GIVEN, multiple=True, help="A saved monitor; may be repeated.")
@click.option("--folder", type=GIVEN_FOLDER, help="Models, directions, monitors, runs and reports in it, too.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Default: 8377, or a free one.")
@click.option("--open/--no-open", "opens", default=False, help="Open the page in a browser.")
@click.option("--fit/--no-fit", default=True, help="Fit a small direction where there is none.  [default: fit]")
@model_options
def serve(models: tuple[str, ...], port: int | None, opens: bool, fit: bool, **options: Any) -> None:
    """Open a page on this machine: ask MODEL, and see what is read of every token while it answers.

    MODEL is smollm2 (the embedded model, if none is named), a folder, or a hub id. The page offers these, the embedded
    one, and models, directions and monitors in --folder, each loaded when it is chosen. It shows activity along a
    direction, attention per segment, log-probabilities and a monitor's score, of answers that are given or written, and
    what runs and reports are in the folder. Only this machine can open it, with the address that is printed.

    \b
    Examples:
      foretell serve
      foretell serve smollm2 --folder demo --open
      foretell serve ./my-model --direction lying.safetensors --monitor monitor.safetensors
    """
    if not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))):
        raise MissingExtraError("serve", "foretell serve")
    import foretell
    from foretell.serving.application import serve as serve_page
    from foretell.serving.catalogue import Catalogue, offered_direction
    from foretell.showing.terminal import say

    given = {name: options.pop(name) for name in ("directions", "monitors", "folder")}
    loaders: dict[str, Callable[[], Model]] = {}
    for name in models:
        loaders[name] = model_loader(name, dict(options))
    if _has_embedded():
        loaders.setdefault(EMBEDDED, model_loader(EMBEDDED, dict(options)))

    def load_folder(path: Path) -> Model:
        return model_loader(str(path), {**options, "trust_remote_code": False})()

    catalogue = Catalogue.found(loaders, load_folder=load_folder, **given)
    for line in catalogue.skipped:
        say(f"  not taken: {line}", style="yellow")
    say_doing(f"loading {models[0]}", options)
    first = catalogue.model(models[0])
    if fit and not catalogue.directions:
        say(f"fitting a small direction on the facts (name others with --direction, or see --no-fit): {models[0]}")
        pairs = foretell.fact_pairs(per_topic=_FACTS_PER_TOPIC)
        fitted: Direction = foretell.fit_direction(first, pairs, progress=options["progress"])
        catalogue.directions = {"direction-1": offered_direction(f"{fitted.concept} (few facts)", fitted)}

    def on_ready(address: str) -> None:
        say(f"live page: {address}", style="green")
        say("  Ctrl+C ends it")
        if opens:
            import webbrowser

            webbrowser.open(address)

    serve_page(catalogue, port=port, on_ready=on_ready)
