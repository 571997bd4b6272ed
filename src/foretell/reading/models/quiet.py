"""Keep the model library's logs and progress bars away from the user while a model loads.

from foretell.reading.models.quiet import quiet
with quiet():
    ...
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

__all__ = ["quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' log messages and progress bars inside the block, and restore both after it."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # The GGUF reader of the library draws its bar without asking its own switch.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
