"""A sealed file is read back, and any changed byte of it is noticed."""

import numpy as np
import pytest

from foretell.storage.commits.sealed_json import sealed, unsealed

CONTENT = {"job": {"model": "toy é 漢", "seed": 0, "lone": "\ud800"}, "finished": False, "parts": ["a", "b"]}


def test_content_comes_back_and_equal_content_is_equal_text() -> None:
    assert unsealed(sealed(CONTENT)) == CONTENT
    assert sealed(dict(reversed(CONTENT.items()))) == sealed(CONTENT)


def test_every_single_byte_counts(generator: np.random.Generator) -> None:
    data = sealed(CONTENT).encode()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= int(generator.integers(1, 256))
        with pytest.raises(ValueError):  # noqa: PT011 - which one depends on the byte
            unsealed(bytes(changed).decode("utf-8"))
        with pytest.raises(ValueError):  # noqa: PT011
            unsealed(data[:place].decode("utf-8"))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"sha256": ""}', sealed(CONTENT) + " ", "[" * 100_000])
def test_what_is_no_sealed_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        unsealed(text)
