"""Settings of the documentation site; `make docs` builds it, with warnings as errors."""

import importlib.metadata
from typing import Any

from sphinx.application import Sphinx

project = "foretell"
author = "foretell maintainers"
release = version = importlib.metadata.version("foretell")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
myst_heading_anchors = 4
default_role = "code"  # docstrings mark code as Markdown does, with single backticks
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = "foretell"
html_show_copyright = False


def _plain_docstring(_app: Sphinx, what: str, _name: str, _obj: object, _options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking words before a colon for an attribute's type; leave out the package's own text."""
    if what in {"attribute", "property", "data"}:
        lines[:0] = ["..", ""]  # an empty comment
    elif what == "module":
        lines.clear()


def setup(app: Sphinx) -> None:
    """Change docstrings before napoleon does."""
    app.connect("autodoc-process-docstring", _plain_docstring, priority=100)
