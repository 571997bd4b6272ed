"""Archives of samples: whole, compressed by zstd, with samples in parts, damaged and cut off."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from foretell.conversations.formats import read_conversations
from foretell.errors import ConversationError, InputError
from foretell.records.logs.zipped_log import is_log_archive, read_archive_header, read_log_archive
from foretell.records.skipped import BadRecords
from tests.optional import missing
from tests.records.logs.logged import DEFLATED, HEADER, SAMPLE, STORED, write_archive, write_zstd_archive

FILES = {
    "_journal/start.json": {**HEADER, "status": "started"},
    **{f"samples/{n}_epoch_1.json": {**SAMPLE, "id": n} for n in (10, 9, 1)},
    "summaries.json": [],
    "header.json": HEADER,
}


def ids(path: Path, **options: Any) -> list[Any]:
    bad = BadRecords(path, **options)
    return [sample["id"] for _, sample in read_log_archive(path, bad=bad, limit=None)]


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_samples_come_in_the_order_of_their_names(compression: int, tmp_path: Path) -> None:
    path = write_archive(tmp_path / "log.eval", FILES, compression=compression)
    assert is_log_archive(path)
    assert read_archive_header(path) == HEADER
    assert ids(path) == [1, 9, 10]


def test_a_log_that_is_being_written_has_the_header_it_started_with(tmp_path: Path) -> None:
    started = {name: content for name, content in FILES.items() if name != "header.json"}
    assert read_archive_header(write_archive(tmp_path / "log.eval", started))["status"] == "started"


def test_an_archive_without_samples_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "log.eval", {"header.json": HEADER})
    with pytest.raises(ConversationError, match=r"log.eval: holds no samples"):
        read_conversations(path)


def test_zstd_is_unpacked_with_its_line_ends_and_its_checksum(tmp_path: Path) -> None:
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        missing("pyarrow")
    strange = 'with\x01, "quotes", \r\n and ü' * 500
    files = {**FILES, "samples/2_epoch_1.json": {**SAMPLE, "id": strange}}
    packed = {name: pa.compress(json.dumps(files[name]).encode(), codec="zstd", asbytes=True) for name in files}
    path = write_zstd_archive(tmp_path / "log.eval", files, packed)
    assert [str(one) for one in ids(path)] == ["1", strange, "9", "10"]
    damaged = {**packed, "samples/9_epoch_1.json": packed["samples/1_epoch_1.json"]}
    path = write_zstd_archive(tmp_path / "damaged.eval", files, damaged)
    with pytest.raises(InputError, match=r"row 3: samples/9_epoch_1.json cannot be read: its checksum is wrong"):
        ids(path)
    assert len(ids(path, errors="skip")) == 3


def test_several_lines_and_frames_of_zstd_are_one_text(tmp_path: Path) -> None:
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        missing("pyarrow")
    text = json.dumps(SAMPLE)
    frames = [pa.compress(part.encode(), codec="zstd", asbytes=True) for part in (text[:40], text[40:])]
    path = write_zstd_archive(
        tmp_path / "log.eval", {"samples/s_epoch_1.json": SAMPLE}, {"samples/s_epoch_1.json": b"".join(frames)}
    )
    assert ids(path) == ["s"]


def test_a_sample_in_parts_is_put_together(tmp_path: Path) -> None:
    shell = {key: value for key, value in SAMPLE.items() if key != "messages"}
    folder = "samples/s_epoch_1"
    pool = [*SAMPLE["messages"], {"role": "user", "content": "attachment://1"}]
    parts = {
        f"{folder}/sample.json": {**shell, "message_refs": [[0, 1], [3, 4], [2, 3]]},
        f"{folder}/metadata.json": {"category": "long"},
        f"{folder}/messages/2.json": pool[2:],
        f"{folder}/messages/0.json": pool[:2],
        f"{folder}/events/0.json": [],
        f"{folder}/events/stats.json": {},
        f"{folder}/attachments/0.json": ["first", "the question"],
    }
    path = write_archive(tmp_path / "log.eval", {"header.json": HEADER, **parts})
    (found,) = read_conversations(path)
    assert [message.content for message in found.messages] == ["S", "the question"]
    assert (found.answer, found.stratum, found.behavior_label) == ("A", "long", 1)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_that_was_cut_says_what_it_is_and_what_to_do(share: float, tmp_path: Path) -> None:
    path = write_archive(tmp_path / "log.eval", FILES)
    path.write_bytes(path.read_bytes()[: 60 + int(share * path.stat().st_size)])
    with pytest.raises(
        ConversationError, match=r"log.eval: is a log of inspect_ai whose end is lacking or damaged.*log recover"
    ):
        read_conversations(path)


def test_no_damage_goes_unnoticed_or_raises_anything_else(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "log.eval", FILES).read_bytes()
    before = [(one.id, one.answer) for one in read_conversations(tmp_path / "log.eval")]
    random_places = random.Random(0)
    for place in random_places.sample(range(len(whole)), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random_places.randrange(8)
        (tmp_path / "log.eval").write_bytes(damaged)
        try:
            after = read_conversations(tmp_path / "log.eval", errors="skip")
        except ConversationError:
            continue
        assert [(one.id, one.answer) for one in after] == before[: len(after)] or after.skipped or len(after) < 3
