"""Options that several verbs of the command line share, and the model that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

__all__ = [
    "FILE",
    "FOLDER",
    "device_option",
    "dtype_option",
    "opened_model",
    "quiet_option",
    "seed_option",
    "trust_option",
]

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)
seed_option = click.option("--seed", default=0, show_default=True, help="Fixes every random step.")
quiet_option = click.option("--quiet", "progress", flag_value=False, default=None, help="No progress bars.")
trust_option = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that comes with the model. Off by default."
)
dtype_option = click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True
)
device_option = click.option(
    "--device", default=None, help="Such as cpu, cuda or mps; default: where the library puts it."
)


def opened_model(name: str, options: dict[str, Any]) -> Model:
    """Load the model that a verb names, taking the options that loading needs out of `options`."""
    import foretell

    settings = {key: options.pop(key) for key in ("dtype", "device", "trust_remote_code")}
    return foretell.load_model(name, **settings)
