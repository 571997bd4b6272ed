"""Repairing a run: what is broken is removed, so that the call that read the run reads it again.

repair_run(Run(Path("run")))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from foretell.errors import RunError
from foretell.storage.atomic import is_draft
from foretell.storage.commits.manifest import Manifest
from foretell.storage.commits.part_commit import PARTS, RunTable
from foretell.storage.commits.run_folder import LABELS_COMMIT, LABELS_FILE, RunFolder
from foretell.storage.upkeep.check import check_run, read_manifests
from foretell.storage.upkeep.damage import Damage
from foretell.storage.writer_lock import writing_alone

__all__ = ["remove_drafts", "remove_parts", "repair_run"]


def repair_run(run: RunFolder) -> list[Damage]:
    """Remove damaged parts and labels, make a damaged manifest again from its copy, and mark the run unfinished.

    Parts that are whole are not touched. States that were added by hand and are damaged must be added again.

    Returns:
        What was wrong.

    Raises:
        RunError: Neither the manifest nor its copy can be read, or another version of foretell wrote it.
        FolderTakenError: Somebody is writing into the run.
    """
    with writing_alone(run.location):
        found = check_run(run)
        remove_drafts(run)
        if not found.damages:
            return []
        manifest, _ = read_manifests(run)
        if manifest is None:
            raise RunError(
                f"{run.location}: neither the manifest nor its copy can be read; read again into a new folder"
            )
        if manifest.listed is not None:
            run.upgrade(manifest)
        broken = sorted({damage.part for damage in found.damages if damage.part is not None})
        finished = manifest.finished and not broken and not _is_short(found.damages)
        run.write_manifest(Manifest(manifest.job, finished, manifest.parts if finished else ()))
        remove_parts(run, broken)
        if any(damage.file in {LABELS_FILE, LABELS_COMMIT} for damage in found.damages):
            run.remove([LABELS_FILE, LABELS_COMMIT])
        return list(found.damages)


def remove_parts(run: RunFolder, names: Sequence[str]) -> None:
    """Delete parts, each its own file first, so that it is never there with half of its files."""
    run.remove([f"{PARTS}/{name}.json" for name in names])
    gone = set(names)
    for table in get_args(RunTable):
        for suffix in (".parquet", ".safetensors"):
            # `NAME.parquet`, or `NAME.7.parquet` of a compacted part
            files = [name for name in run.names(table, suffix) if {name, name.partition(".")[0]} & gone]
            run.remove([f"{table}/{name}{suffix}" for name in files])


def _is_short(damages: Sequence[Damage]) -> bool:
    """Whether a run says that it is finished and lacks samples."""
    return any("is finished" in damage.what for damage in damages)


def remove_drafts(run: RunFolder) -> None:
    """Delete what a call left that was killed while it wrote a file."""
    if run.remote is None:
        for folder in (".", PARTS, *get_args(RunTable)):
            if (run.path / folder).is_dir() and not (run.path / folder).is_symlink():
                for path in (run.path / folder).iterdir():
                    if is_draft(path.name):
                        path.unlink()
