"""A part's own file says exactly what the part holds, and names nothing outside its folder."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from foretell.storage.commits.part_commit import Part, PartFile, active_parts, is_safe_name
from foretell.storage.commits.sealed_json import sealed

FILES = (
    PartFile("samples", "a.parquet", 2, 100, "00"),
    PartFile("hidden", "a.parquet", 4, 50, "01"),
    PartFile("hidden", "a.safetensors", None, 900, "02"),
)
PART = Part("a", "job", ("x", "y"), FILES)


def test_a_part_comes_back() -> None:
    assert Part.of(PART.text(), "a") == PART
    compacted = dataclasses.replace(PART, replaces=("b", "c"))
    assert Part.of(compacted.text(), "a") == compacted
    assert [file.place for file in PART.of_table("hidden")] == ["hidden/a.parquet"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"},
        {"name": "../a"},
        {"replaces": ["../../b"]},
        {"files": [{**dataclasses.asdict(FILES[0]), "name": "../secret.parquet"}]},
        {"files": [{**dataclasses.asdict(FILES[0]), "name": "/etc/secret.parquet"}]},
        {"files": [{**dataclasses.asdict(FILES[0]), "name": "C:secret.parquet"}]},
        {"files": [{**dataclasses.asdict(FILES[0]), "name": "labels.py"}]},
        {"files": [{**dataclasses.asdict(FILES[0]), "table": ".."}]},
        {"files": [{"table": "samples"}]},
        {"files": None},
        {"ids": 3},
    ],
)
def test_what_is_no_part_is_refused_though_its_checksum_is_right(change: dict[str, Any]) -> None:
    content = {key: value for key, value in dataclasses.asdict(PART).items() if key != "replaces"}
    with pytest.raises(ValueError, match=r"describes|is no table|is not the name"):
        Part.of(sealed({**content, **change}), "a")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "/a", "a\n", "a:b", "a" * 300, "a.", None])
def test_names_of_other_places_are_no_names_of_files(name: object) -> None:
    assert not is_safe_name(name)


def test_a_part_that_another_one_replaces_does_not_count() -> None:
    others = [dataclasses.replace(PART, name=name) for name in ("c", "b")]
    whole = dataclasses.replace(PART, name="whole", replaces=("b", "a"))
    assert [part.name for part in active_parts([whole, *others])] == ["c", "whole"]
