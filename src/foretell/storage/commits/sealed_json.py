"""JSON files that carry the checksum of their own content, so that a changed byte is noticed.

path.write_text(sealed({"finished": False}))
unsealed(path.read_text())                      # {"finished": False}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

__all__ = ["read_json", "sealed", "unsealed"]

_SEAL = "sha256"


def sealed(content: Mapping[str, Any]) -> str:
    """Return the text of a file: JSON with the checksum of the rest as `sha256`, always the same for equal content."""
    text = _text(content)
    return _text({**content, _SEAL: sha256(text.encode()).hexdigest()})


def unsealed(text: str) -> dict[str, Any]:
    """Return the content of a sealed text.

    Raises:
        ValueError: It is no JSON object, or not as `sealed` wrote it.
    """
    content = read_json(text)
    seal = content.pop(_SEAL, None)
    # Compared as text: what JSON ignores, such as another space, was changed as well.
    if seal is None or sealed(content) != text:
        raise ValueError("its checksum is another, so it was changed after it was written")
    return content


def read_json(text: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: It is none.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, indent=1) + "\n"
