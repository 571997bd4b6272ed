"""Whether a run on disk is whole: every file as it was written, and every sample complete in every table.

found = check_run(Run(Path("run")))
for damage in found.damages:
    print(damage)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import polars as pl

from foretell.errors import RunError
from foretell.schema.tables import TABLES
from foretell.storage.atomic import is_draft
from foretell.storage.commits.job_identity import job_hash
from foretell.storage.commits.manifest import Manifest
from foretell.storage.commits.part_commit import PARTS, Part, PartFile, RunTable, active_parts
from foretell.storage.commits.run_folder import LABELS_COMMIT, LABELS_FILE, RunFolder, checksum
from foretell.storage.commits.sealed_json import unsealed
from foretell.storage.shard_file import tensors_of
from foretell.storage.targets import COPY, MANIFEST
from foretell.storage.upkeep.damage import Damage
from foretell.storage.upkeep.part_contents import content_damages

__all__ = ["CheckedRun", "check_run", "read_manifests"]

_AGAIN = "repair the run (--repair removes it), then make the same call that read it"
_ADD_AGAIN = "repair the run (--repair removes it), then add these hidden states again (run.add_hidden)"


@dataclass(frozen=True)
class CheckedRun:
    """What a check found."""

    damages: tuple[Damage, ...]
    leftovers: tuple[str, ...]
    """Files in the folder that belong to no part: drafts of a call that was killed, parts that were compacted, files of
    others. They do no harm."""
    n_parts: int
    n_samples: int
    finished: bool


def check_run(run: RunFolder) -> CheckedRun:
    """Look at every file of a run.

    Checked are manifest and its copy, the file of each part, the checksum, columns and rows of every file, that keys
    are unique in and across parts, that every sample that was read is complete in every table (layers x heads, tokens
    without a gap, hidden states with their shards), that masses sum to 1 or, for models with attention sinks, to no
    more, and the labels. Memory does not grow with the run, only with its largest file.

    Raises:
        RunError: Another version of foretell wrote it.
    """
    manifest, damages = read_manifests(run)
    parts, broken = _parts(run, manifest)
    damages += broken
    active = active_parts(parts)
    damages += _missing(manifest, active, damages)
    whole: list[Part] = []
    for part in active:
        todo = _AGAIN if part.of_table("samples") else _ADD_AGAIN
        wrong = [Damage(file.place, what, todo, part.name) for file in part.files if (what := _wrong(run, file))]
        damages += wrong
        if not wrong:
            whole.append(part)
    damages += _twice(active)
    damages += content_damages(run, whole, dict(manifest.job) if manifest else {})
    damages += _labels(run)
    n_samples = sum(file.n_rows or 0 for part in active for file in part.of_table("samples"))
    finished = manifest is not None and manifest.finished
    if manifest and finished and not damages:
        damages += _too_few(manifest, n_samples)
    return CheckedRun(tuple(damages), tuple(_leftovers(run, active, damages)), len(active), n_samples, finished)


def read_manifests(run: RunFolder) -> tuple[Manifest | None, list[Damage]]:
    """Return the manifest, from its copy where it is damaged, and what is wrong with both.

    Raises:
        RunError: Another version of foretell wrote it.
    """
    run.fetch([MANIFEST, COPY], anew=True)
    found: dict[str, Manifest] = {}
    wrong: dict[str, str] = {}
    for name in (MANIFEST, COPY):
        try:
            found[name] = Manifest.of(run.contained(name).read_text(encoding="utf-8"), f"{run.location}/{name}")
        except FileNotFoundError:
            wrong[name] = "is missing"
        except (OSError, ValueError) as error:
            wrong[name] = f"is damaged ({error})"
    if MANIFEST in found and found[MANIFEST].listed is not None:
        return found[MANIFEST], []  # format 2 has no copy
    if len(found) == 2 and job_hash(found[MANIFEST].job) != job_hash(found[COPY].job):
        wrong[COPY] = "is of another job than the manifest"
    todo = "repair the run (--repair makes it again)" if found else "delete the folder and read again"
    return found.get(MANIFEST, found.get(COPY)), [Damage(name, what, todo) for name, what in wrong.items()]


def _parts(run: RunFolder, manifest: Manifest | None) -> tuple[list[Part], list[Damage]]:
    """Return the parts whose own file is whole and of this job, and what is wrong with the others."""
    parts = {part.name: part for part in (manifest.listed if manifest else None) or ()}
    damages = []
    own = None if manifest is None else job_hash(manifest.job)
    names = run.names(PARTS, ".json")
    run.fetch(f"{PARTS}/{name}.json" for name in names)
    for name in names:
        try:
            run.contained(f"{PARTS}/{name}.json")
            part = run.read_part(name)
        except (OSError, ValueError, RunError) as error:
            damages.append(Damage(f"{PARTS}/{name}.json", f"is damaged ({error})", _AGAIN, name))
            continue
        if own is not None and part.job != own:
            what = f"belongs to another job ({part.job}, and this run's is {own})"
            damages.append(Damage(part.place, what, _AGAIN, name))
            continue
        parts[name] = part
    return list(parts.values()), damages


def _missing(manifest: Manifest | None, active: Sequence[Part], damages: Sequence[Damage]) -> list[Damage]:
    """Return the parts that a finished run had and no longer has."""
    if manifest is None or not manifest.finished:
        return []
    known = {name for part in active for name in (part.name, *part.replaces)} | {one.part for one in damages}
    lost = [name for name in manifest.parts if name not in known]
    what = "is missing though the run was finished with it"
    return [Damage(f"{PARTS}/{name}.json", what, _AGAIN, name) for name in lost]


def _too_few(manifest: Manifest, n_samples: int) -> list[Damage]:
    expected = manifest.job.get("n_conversations")
    if expected is None or expected == n_samples:
        return []
    what = f"says that the run is finished, with {expected} conversations; its parts have {n_samples} samples"
    return [Damage(MANIFEST, what, "repair the run (--repair marks it unfinished), then make the same call again")]


def _wrong(run: RunFolder, file: PartFile) -> str | None:
    """Say what is wrong with one file; None if nothing is."""
    try:
        run.fetch([file.place])
        path = run.contained(file.place)
        if not path.is_file():
            return "is missing"
        size = path.stat().st_size
        if file.n_bytes is not None and size != file.n_bytes:
            return f"has {size} bytes; {file.n_bytes} were written"
        if file.sha256 and checksum(path) != file.sha256:
            return "was changed since it was written (its checksum is another)"
        if file.is_shard:
            tensors_of(path)
            return None
        return _wrong_columns(path, file)
    except RunError as error:
        return str(error)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        return f"cannot be read ({error})"


def _wrong_columns(path: Path, file: PartFile) -> str | None:
    found = pl.read_parquet_schema(path)
    for column in TABLES[file.table].columns:
        if column.name not in found:
            if column.null is None:
                return f'lacks the column "{column.name}"'
        elif found[column.name] != column.dtype:
            return f'has the column "{column.name}" as {found[column.name]}, not {column.dtype}'
    n_rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    return None if n_rows == file.n_rows else f"has {n_rows} rows; {file.n_rows} were written"


def _twice(parts: Sequence[Part]) -> list[Damage]:
    """Return parts with a sample that a part before them has as well."""
    counts = Counter(own for part in parts if part.of_table("samples") for own in part.ids or ())
    damages: list[Damage] = []
    seen: set[str] = set()
    for part in parts:
        if not part.of_table("samples"):
            continue
        again = [own for own in part.ids or () if counts[own] > 1 and own in seen]
        seen.update(own for own in part.ids or () if counts[own] > 1)
        if again:
            what = f"has {len(again)} samples that another part has as well, such as {again[0]!r}"
            damages.append(Damage(part.place, what, _AGAIN, part.name))
    return damages


def _labels(run: RunFolder) -> list[Damage]:
    """Return what is wrong with the labels that were written after the run was made."""
    run.fetch([LABELS_FILE, LABELS_COMMIT], anew=True)
    path, todo = run.path / LABELS_FILE, "repair the run (--repair removes the labels), then label it again"
    try:
        known = unsealed(run.contained(LABELS_COMMIT).read_text(encoding="utf-8"))["labels"]
    except FileNotFoundError:
        known = None  # a run without labels, or one whose labels an older version wrote
    except (OSError, ValueError, KeyError, RunError) as error:
        return [Damage(LABELS_COMMIT, f"is damaged ({error})", todo)]
    try:
        if not path.exists():
            return []
        if known is not None and checksum(run.contained(LABELS_FILE)) not in known:
            return [Damage(LABELS_FILE, "was changed since it was written (its checksum is another)", todo)]
        pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, RunError) as error:
        return [Damage(LABELS_FILE, f"cannot be read ({error})", todo)]
    return []


def _leftovers(run: RunFolder, active: Sequence[Part], damages: Sequence[Damage]) -> Iterator[str]:
    """Yield files that belong to no part that counts."""
    own = {file.place for part in active for file in part.files} | {part.place for part in active}
    damaged = {damage.part for damage in damages}
    for folder in (PARTS, *get_args(RunTable)):
        names = run.remote.names(folder) if run.remote else _files(run.path / folder)
        for name in names:
            if f"{folder}/{name}" not in own and name.partition(".")[0] not in damaged:
                yield f"{folder}/{name}"
    if run.remote is None:
        yield from (name for name in _files(run.path) if is_draft(name))
        yield from (path.name for path in run.path.glob(".compacting-*"))


def _files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.is_dir())
