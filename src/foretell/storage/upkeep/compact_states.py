"""Compaction of hidden states: one layer after the other, in shards that are large enough for the disk's speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from foretell.schema.tables import HIDDEN, POOLS, conform
from foretell.storage.atomic import written_whole
from foretell.storage.commits.part_commit import Part, PartFile
from foretell.storage.commits.run_folder import RunFolder
from foretell.storage.shard_file import read_tensor_rows, tensors_of

__all__ = ["compact_states"]

_BYTES = 1 << 28
"""Bytes of one shard, unless a part's own is larger."""


def compact_states(run: RunFolder, parts: Sequence[Part], name: str) -> list[PartFile]:
    """Write the hidden states of all parts into few shards with their index, and return the files.

    Args:
        run: The run.
        parts: Its parts.
        name: Of the new part.
    """
    files = [file.place for part in parts for file in part.of_table("hidden")]
    if not files:
        return []
    run.fetch(file.place for part in parts for file in part.files if file.table == "hidden")
    order = [file.name for part in parts for file in part.files if file.is_shard]
    index = pl.concat([pl.scan_parquet(run.contained(file)) for file in files], how="diagonal")
    layers = index.select(pl.col("layer").unique().sort()).collect().to_series()
    written: list[PartFile] = []
    for layer in layers:
        rows = index.filter(pl.col("layer") == layer).collect()
        new = []
        for number, shards in enumerate(_chunks(run, order, set(rows.get_column("shard")), layer)):
            shard = f"{name}.{layer:04d}-{number:04d}.safetensors"
            new.append(_write_shard(run, rows.filter(pl.col("shard").is_in(shards)), shard))
            written.append(run.committed("hidden", shard))
        frame = conform(pl.concat(new), HIDDEN).sort("pool", "n_generated", "id")
        written.append(run.write_rows("hidden", f"{name}.{layer:04d}.parquet", frame))
    return written


def _chunks(run: RunFolder, order: Sequence[str], own: set[str], layer: int) -> Iterator[list[str]]:
    """Yield neighbouring shards whose states of a layer make one new one."""
    chunk: list[str] = []
    size = 0
    for shard in (shard for shard in order if shard in own):
        tensors = tensors_of(run.contained(f"hidden/{shard}"))
        here = sum(tensor.n_rows * tensor.row_bytes for key, tensor in tensors.items() if key.startswith(f"{layer}/"))
        if chunk and size + here > _BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(shard)
        size += here
    if chunk:
        yield chunk


def _write_shard(run: RunFolder, rows: pl.DataFrame, shard: str) -> pl.DataFrame:
    """Write the states of one layer, whole answers of a pool first, and return their index."""
    from safetensors.numpy import save_file

    layer = rows["layer"][0]
    whole = pl.when(pl.col("n_generated") == pl.col("n_generated").max().over("id", "pool")).then(0)
    tensors, index = {}, []
    for pool in POOLS:
        chosen = rows.filter(pl.col("pool") == pool).sort(whole.otherwise(pl.col("n_generated")), "id")
        if chosen.is_empty():
            continue
        tensors[f"{layer}/{pool}"] = _states(run, chosen, f"{layer}/{pool}")
        numbers = pl.int_range(chosen.height, dtype=pl.Int32)
        index.append(chosen.with_columns(shard=pl.lit(shard), row=numbers))
    path = run.path / "hidden" / shard
    with written_whole(path, durable=True) as draft:
        save_file(tensors, draft)
    return pl.concat(index)


def _states(run: RunFolder, rows: pl.DataFrame, tensor: str) -> np.ndarray:
    """Return the states that rows of an index name, in their order, in the smallest type that holds them all."""
    found: np.ndarray | None = None
    dtypes = set()
    for (shard,), own in rows.with_row_index("place").partition_by("shard", as_dict=True).items():
        path = run.contained(f"hidden/{shard}")
        states = read_tensor_rows(path, tensor, own.get_column("row").to_numpy())
        dtypes.add(tensors_of(path)[tensor].dtype.itemsize)
        if found is None:
            found = np.empty((rows.height, states.shape[1]), dtype=np.float32)
        found[own.get_column("place").to_numpy()] = states
    if found is None:
        raise ValueError("an index without shards")
    return found if max(dtypes) > 2 else found.astype(np.float16)
