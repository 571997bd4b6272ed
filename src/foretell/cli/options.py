"""Options that several verbs share, and loading of the model they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

__all__ = [
    "FILE",
    "FOLDER",
    "model_options",
    "opened_model",
    "quiet_option",
    "seed_option",
    "trust_option",
]

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)
seed_option = click.option("--seed", default=0, show_default=True, help="Random seed.")
quiet_option = click.option("--quiet", "progress", flag_value=False, default=None, help="No progress bars.")
trust_option = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that is part of the model. Off by default."
)
_dtype_option = click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True
)
_device_option = click.option(
    "--device", default=None, help="Such as cpu, cuda or mps; default: chosen by the library."
)


def model_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every verb that runs a model."""
    return _dtype_option(_device_option(trust_option(seed_option(quiet_option(verb)))))


def opened_model(name: str, options: dict[str, Any]) -> Model:
    """Load a verb's model, and remove the options for loading from `options`."""
    import foretell

    settings = {key: options.pop(key) for key in ("dtype", "device", "trust_remote_code")}
    return foretell.load_model(name, **settings)
