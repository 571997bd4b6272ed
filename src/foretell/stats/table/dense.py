"""A dataset of a table as a dense array with the axes sample, layer, head, metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Shaped

from foretell.errors import TableError
from foretell.stats.table.joined import BASELINES, StudyTable

__all__ = ["DenseDataset", "dense_dataset", "sample_strata"]


@dataclass(frozen=True)
class DenseDataset:
    """One dataset as arrays; every first axis is the sample, in the order of the ids as text."""

    dataset: str
    values: Float[np.ndarray, "sample layer head metric"]
    """float64; nan where the table has no number. The sample axis is contiguous in memory: see `by_column`."""
    layers: tuple[int, ...]
    """Layer of each index of axis 1, ascending."""
    heads: tuple[int, ...]
    """Head of each index of axis 2, ascending."""
    metrics: tuple[str, ...]
    ids: tuple[str, ...]
    label: Int[np.ndarray, " sample"]
    """int8; 1 the behaviour happened, 0 it did not."""
    group: Shaped[np.ndarray, " sample"]
    """Text; samples of one group are dependent."""
    stratum: Shaped[np.ndarray, " sample"] | None
    """Text, "" where not given; None where no sample has a stratum."""
    baselines: Mapping[str, Float[np.ndarray, " sample"]] = field(hash=False)
    """float64 per column of `BASELINES` that the table has; nan where a sample has no value."""
    answer: tuple[str | None, ...] | None = None
    """Text of each sample's answer; None where the table has none."""
    prompt: tuple[str | None, ...] | None = None
    """Text or messages before each sample's answer; None where the table has none."""

    @property
    def columns(self) -> Float[np.ndarray, "sample column"]:
        """The values with layer, head and metric flattened into one axis (metric fastest)."""
        return self.values.reshape(len(self.ids), -1)

    @property
    def by_column(self) -> Float[np.ndarray, "column sample"]:
        """The values as one row per layer, head and metric, metric slowest, without a copy."""
        return self.values.transpose(3, 1, 2, 0).reshape(-1, len(self.ids))

    def column_index(self) -> pl.DataFrame:
        """Return layer, head and metric of each column of `columns`, in order."""
        shape = self.values.shape[1:]
        layer, head, metric = (index.ravel() for index in np.indices(shape))
        return pl.DataFrame(
            {
                "layer": np.asarray(self.layers, dtype=np.int32)[layer],
                "head": np.asarray(self.heads, dtype=np.int32)[head],
                "metric": np.asarray(self.metrics)[metric],
            },
            schema_overrides={"metric": pl.String},
        )


def sample_strata(samples: pl.DataFrame) -> Shaped[np.ndarray, " sample"] | None:
    """Return the stratum of each sample as text, "" where it has none; None where no sample has one.

    Args:
        samples: With a column stratum.
    """
    stratum = samples.get_column("stratum")
    return None if stratum.null_count() == stratum.len() else np.array(stratum.fill_null("").to_list(), np.str_)


def dense_dataset(table: StudyTable, dataset: str) -> DenseDataset:
    """Return one dataset of a table as dense arrays, sorted by id, layer and head.

    Raises:
        TableError: The table has no such dataset.
    """
    frame = table.frame.filter(pl.col("dataset") == dataset)
    samples = table.samples.filter(pl.col("dataset") == dataset)
    if not samples.height:
        raise TableError(f'there is no dataset "{dataset}"; there are: {", ".join(table.datasets)}')
    layers = frame.get_column("layer").unique().sort().to_numpy()
    heads = frame.get_column("head").unique().sort().to_numpy()
    numbers = frame.select(table.metrics).fill_null(np.nan).to_numpy()
    shape = (layers.size, heads.size, samples.height)
    if frame.height == np.prod(shape):  # complete, and the table is sorted by layer, head and id
        values = numbers.T.reshape(-1, *shape).transpose(3, 1, 2, 0)
    else:
        position = samples.select("id", _sample=pl.int_range(pl.len()))
        sample = frame.select("id").join(position, on="id", how="left", maintain_order="left").get_column("_sample")
        values = np.full((len(table.metrics), *shape), np.nan).transpose(3, 1, 2, 0)
        layer = np.searchsorted(layers, frame.get_column("layer").to_numpy())
        head = np.searchsorted(heads, frame.get_column("head").to_numpy())
        values[sample.to_numpy(), layer, head] = numbers
    return DenseDataset(
        dataset=dataset,
        values=values,
        layers=tuple(int(layer) for layer in layers),
        heads=tuple(int(head) for head in heads),
        metrics=table.metrics,
        ids=tuple(samples.get_column("id")),
        label=samples.get_column("behavior_label").to_numpy(),
        group=np.array(samples.get_column("group").to_list(), dtype=np.str_),
        stratum=sample_strata(samples),
        baselines={
            name: samples.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy()
            for name in BASELINES
            if name in samples.columns
        },
        answer=tuple(samples.get_column("answer")) if "answer" in samples.columns else None,
        prompt=tuple(samples.get_column("messages")) if "messages" in samples.columns else None,
    )
