"""Tables for dataframes and evaluation tools that know nothing of runs: labels and scores of samples, and results.

foretell.export("run", "scores.parquet")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from foretell.errors import InputError
from foretell.schema.tables import MASSES, SCORES, SHARES, conform
from foretell.storage.atomic import written_whole
from foretell.storage.runs import Run, open_run
from foretell.storage.targets import held_folder

__all__ = ["check_kind", "export", "scores_of", "write_frame", "write_results"]

_KINDS = (".parquet", ".jsonl", ".csv")


def export(run: Run | Path | str, to: Path | str | None = None, *, overwrite: bool = False) -> pl.DataFrame:
    """Return labels and scores of a run, one row per sample, and write them as one flat file.

    The columns are those of the table `scores`. `id` and `epoch` are what a log of inspect_ai calls a sample, so that
    the table joins its dataframes by them; Hugging Face `datasets` load the file as it is.

    Args:
        run: A run or its folder.
        to: File to write: `.parquet`, `.jsonl` or `.csv`; None: none.
        overwrite: Replace a file that exists.

    Raises:
        InputError: There is no such run, the file exists, or its name ends otherwise.

    Undefined:
        The mean masses are null where the sample was not read; `reason` says why.
    """
    target = None if to is None else Path(to)
    if target is not None:
        check_kind(target)
    if target is not None and target.exists() and not overwrite:
        raise InputError(f"{target}: exists; choose another file, or replace it with --overwrite (overwrite=True)")
    scores = scores_of(run if isinstance(run, Run) else open_run(run))
    if target is not None:
        write_frame(scores, target)
    return scores


def check_kind(target: Path) -> None:
    """Refuse a file for a frame whose name does not say what it is.

    Raises:
        InputError: Its name ends otherwise.
    """
    if target.suffix not in _KINDS:
        raise InputError(f"{target}: the name of the file must end with {', '.join(_KINDS[:-1])} or {_KINDS[-1]}")


def write_frame(frame: pl.DataFrame, target: Path) -> None:
    """Write a frame as the kind of file that its name says, atomically."""
    with written_whole(target) as draft:
        if target.suffix == ".parquet":
            frame.write_parquet(draft)
        elif target.suffix == ".jsonl":
            frame.write_ndjson(draft)
        else:
            frame.write_csv(draft)


def scores_of(run: Run) -> pl.DataFrame:
    """Return labels and scores of a run (`schema.SCORES`), by sample."""
    means = run.attention.group_by("id").agg(pl.col(*MASSES, *SHARES).mean())
    samples = run.samples.join(means, on="id", how="left", maintain_order="left")
    # ids of a log's epochs after the first are made by `foretell.records.logs`
    later = pl.col("id").str.extract(r"-epoch-(\d+)$").cast(pl.Int64, strict=False)
    is_later = later.is_not_null() & (pl.col("id") == pl.col("group") + "-epoch-" + later.cast(pl.String))
    named = samples.with_columns(
        sample=pl.col("id"),
        id=pl.when(is_later).then("group").otherwise("id"),
        epoch=pl.when(is_later).then(later).otherwise(1),
    )
    return conform(named, SCORES).sort("sample")


def write_results(folder: Path | str, tables: Mapping[str, pl.DataFrame], texts: Mapping[str, str]) -> list[Path]:
    """Write tables and texts into a folder, each atomically, while nobody else writes there.

    Args:
        folder: Created if it does not exist; files of the same names are replaced.
        tables: One Parquet file each, by name without the ending.
        texts: By the name of the file.

    Returns:
        The files, tables first.

    Raises:
        FolderTakenError: Somebody else is writing into the folder.
    """
    folder = Path(folder)
    with held_folder(folder, overwrite=True):
        for name, frame in tables.items():
            with written_whole(folder / f"{name}.parquet") as draft:
                frame.write_parquet(draft)
        for name, text in texts.items():
            with written_whole(folder / name) as draft:
                draft.write_text(text, encoding="utf-8")
    return [folder / name for name in (*(f"{name}.parquet" for name in tables), *texts)]
