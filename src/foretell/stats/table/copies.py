"""Samples that are not independent although their names say so: exact copies, and names that several datasets share.

Copies of one sample under other ids count once: they are one group wherever groups are kept together. An id or a group
that several datasets name, and a copy in another dataset, is one group in everything that pools datasets. Each dataset
by itself stays as it is, whatever other datasets contain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Int, Shaped, UInt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from foretell.stats.table.contents import Contents, dataset_contents
from foretell.stats.table.dense import dense_dataset
from foretell.stats.table.joined import StudyTable

__all__ = ["copy_sets", "grouped_with_copies", "pooled_groups", "sample_notes", "shared_notes", "with_copies_grouped"]

_MOST_PER_CONTENT = 10


def copy_sets(exact: UInt[np.ndarray, "half sample"]) -> Int[np.ndarray, " sample"] | None:
    """Return a code per sample that exact copies share; None where there are no copies.

    Samples are copies if they have the same values in every column. Equal values can also be chance where metrics are
    rounded, or mean nothing where there is a single column. So equality must be all or nothing: no two samples agree in
    one half of the columns and differ in the other. And there must be a tenth as many contents as samples.

    Args:
        exact: From `Contents.exact`.
    """
    _, first = np.unique(exact[0], return_inverse=True)
    _, second = np.unique(exact[1], return_inverse=True)
    n_first, n_second = int(first.max(initial=-1)) + 1, int(second.max(initial=-1)) + 1
    n = exact.shape[1]
    if n_first == n or n_first != n_second or n_first < 2 or n_first * _MOST_PER_CONTENT < n:
        return None
    both = np.unique(first.reshape(-1) * n_second + second.reshape(-1)).size
    return np.asarray(first.reshape(-1).astype(np.int64)) if both == n_first else None


def with_copies_grouped(table: StudyTable) -> StudyTable:
    """Return a table in which copies of one sample are one group; the ledger tells of copies and incomplete samples.

    Args:
        table: Whole, not a part of a table.
    """
    groups: list[str] = []
    contents = {}
    notes: list[str] = []
    for dataset in table.datasets:
        data = dense_dataset(table, dataset)
        contents[dataset] = dataset_contents(data, ranked=False)
        groups += grouped_with_copies(data.group, contents[dataset]).tolist()
        notes += sample_notes(dataset, data.ids, data.label, contents[dataset])
    samples = table.samples.with_columns(group=pl.Series(groups, dtype=pl.String))
    notes += shared_notes(samples, contents)
    return replace(table, samples=samples, ledger=replace(table.ledger, notes=(*table.ledger.notes, *notes)))


def grouped_with_copies(group: Shaped[np.ndarray, " sample"], contents: Contents) -> Shaped[np.ndarray, " sample"]:
    """Return the groups of a dataset's samples, where groups with a copy in common are one.

    Args:
        group: Names of groups.
        contents: Of the same samples.
    """
    found = copy_sets(contents.exact)
    if found is None:
        return group
    names, codes = np.unique(group, return_inverse=True)
    joined = _components(codes.reshape(-1), found)
    first = np.full(int(joined.max()) + 1, names.size)
    np.minimum.at(first, joined, codes.reshape(-1))
    return np.asarray(names[first[joined]])


def pooled_groups(table: StudyTable) -> dict[str, Int[np.ndarray, " sample"]]:
    """Return the group of each sample in everything that pools datasets, by dataset, in the order of the ids.

    Args:
        table: From `read_table`.
    """
    exact = [dataset_contents(dense_dataset(table, name), ranked=False).exact for name in table.datasets]
    samples = table.samples
    links = [_codes(samples.get_column(name)) for name in ("group", "id")]
    found = copy_sets(np.concatenate(exact, axis=1))
    joined = _components(*links, *([] if found is None else [found]))
    dataset = samples.get_column("dataset").to_numpy()
    return {name: joined[dataset == name] for name in table.datasets}


def sample_notes(dataset: str, ids: Sequence[str], label: Int[np.ndarray, " sample"], contents: Contents) -> list[str]:
    """Return what the ledger says of a dataset's samples: copies, and samples that lack some heads.

    Args:
        dataset: Its name.
        ids: Of the samples.
        label: Of the samples.
        contents: Of the same samples.
    """
    notes = []
    found = copy_sets(contents.exact)
    if found is not None:
        sets = [np.flatnonzero(found == code) for code in np.flatnonzero(np.bincount(found) > 1)]
        n_copies = sum(len(one) - 1 for one in sets)
        shown = ", ".join(f'"{ids[index]}"' for index in sets[0][:3])
        mixed = sum(len(set(label[one].tolist())) > 1 for one in sets)
        notes.append(
            f"{dataset}: {n_copies} of {len(ids)} samples are exact copies of others (such as {shown}); copies of one "
            f"sample are one group{f'; {mixed} of them have both labels' if mixed else ''}"
        )
    lacking = contents.n_values < contents.n_columns
    if lacking.any():
        counts = [f"{np.count_nonzero(lacking & (label == value))} with label {value}" for value in (0, 1)]
        notes.append(
            f"{dataset}: {np.count_nonzero(lacking)} of {len(ids)} samples lack values of some layers, heads or "
            f'metrics ({" and ".join(counts)}), such as "{ids[int(np.argmax(lacking))]}"'
        )
    return notes


def shared_notes(samples: pl.DataFrame, contents: Mapping[str, Contents]) -> list[str]:
    """Return what the ledger says of samples that several datasets share.

    Args:
        samples: Samples of all datasets.
        contents: By dataset, in the order of the samples.
    """
    notes = []
    n_shared = {}
    for name in ("id", "group"):
        counted = samples.group_by(name).agg(pl.col("dataset").n_unique())
        n_shared[name] = counted.filter(pl.col("dataset") > 1).height
    if any(n_shared.values()):
        named = f"{n_shared['id']} ids and {n_shared['group']} groups"
        notes.append(f"{named} occur in several datasets; each is one group where datasets are pooled")
    exact = np.concatenate([one.exact for one in contents.values()], axis=1)
    found = copy_sets(exact) if len(contents) > 1 else None
    if found is not None:
        dataset = np.repeat(np.arange(len(contents)), [one.exact.shape[1] for one in contents.values()])
        pairs = np.unique(np.stack([found, dataset]), axis=1)
        n_sets = int(np.count_nonzero(np.bincount(pairs[0]) > 1))
        if n_sets:
            notes.append(
                f"{n_sets} samples have exact copies in other datasets; each is one group where they are pooled"
            )
    return notes


def _codes(names: pl.Series) -> Int[np.ndarray, " sample"]:
    return names.rank("dense").cast(pl.Int64).to_numpy() - 1


def _components(*links: Int[np.ndarray, " sample"]) -> Int[np.ndarray, " sample"]:
    """Return a code per sample that samples share if a chain of equal codes connects them."""
    n = len(links[0])
    starts = np.cumsum([n, *(int(codes.max(initial=-1)) + 1 for codes in links)])
    ends = np.concatenate([codes + start for codes, start in zip(links, starts[:-1], strict=True)])
    edges = coo_array((np.ones(ends.size, dtype=np.int8), (np.tile(np.arange(n), len(links)), ends)), (starts[-1],) * 2)
    return np.asarray(connected_components(edges, directed=False)[1][:n].astype(np.int64))
