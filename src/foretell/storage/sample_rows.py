"""What was read of each sample, and the rows it becomes in the tables of a run.

It knows the columns of `foretell.schema.tables` and nothing of how the numbers were read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.conversations.conversation import Conversation
from foretell.schema.tables import MASSES, SEGMENTS, SHARES, TABLES, conform, empty
from foretell.storage.answered import Reading, Unread
from foretell.storage.runs import RunTable

__all__ = ["tables"]


def tables(
    readings: Sequence[Reading], unread: Sequence[Unread], *, model: str, concepts: Sequence[str], given: bool
) -> dict[RunTable, pl.DataFrame]:
    """Return the rows of these samples in each table of a run; unread ones have a sample row with their reason.

    A sample whose numbers are undefined has its tokens too. A conversation's own label counts only where answers were
    `given`, because it speaks of that answer. Concepts are in the order of the activity's last axis.
    """
    sound = [reading for reading in readings if reading.reason is None]
    rows: dict[RunTable, list[pl.DataFrame]] = {
        "samples": [
            *(_sample(reading, model=model, given=given) for reading in readings),
            *(_unread(item, model=model) for item in unread),
        ],
        "attention": [_attention(reading) for reading in sound],
        "checkpoints": [_checkpoint(reading, *one) for reading in sound for one in reading.signals.checkpoints.items()],
        "rows": [_rows(reading, mass) for reading in sound if (mass := reading.signals.row_mass) is not None],
        "tokens": [_tokens(reading) for reading in readings],
        "activity": [_activity(reading, concepts) for reading in sound],
    }
    return {table: pl.concat(frames) for table, frames in rows.items() if frames}


def _unread(item: Unread, *, model: str) -> pl.DataFrame:
    ids = item.conversation.answer_token_ids
    row = {
        **_identity(item.conversation),
        "answer": item.answer,
        "answer_token_ids": None if item.answer is None or ids is None else list(ids),
        "model": model,
        "reason": item.reason,
    }
    return _one_sample(row)


def _one_sample(row: Mapping[str, object]) -> pl.DataFrame:
    ids = {"answer_token_ids": TABLES["samples"].dtypes["answer_token_ids"]}
    return conform(pl.DataFrame([row], schema_overrides=ids), TABLES["samples"])


def _identity(conversation: Conversation) -> dict[str, object]:
    verifier = conversation.verifier
    return {
        "id": conversation.id,
        "dataset": conversation.dataset,
        "group": conversation.group or conversation.id,
        "stratum": conversation.stratum,
        "behaviour": conversation.behaviour,
        "messages": conversation.messages_json(),
        "verifier": None if verifier is None else json.dumps(dict(verifier), ensure_ascii=False, sort_keys=True),
    }


def _sample(reading: Reading, *, model: str, given: bool) -> pl.DataFrame:
    counts = np.bincount(reading.signals.segments, minlength=len(SEGMENTS))
    conversation = reading.conversation
    label = (
        {
            "behavior_label": conversation.behavior_label,
            "label_source": conversation.label_source,
            "label_reason": conversation.label_reason,
        }
        if given
        else {}
    )
    row = {
        **_identity(conversation),
        **label,
        **{f"n_tokens_{segment}": int(count) for segment, count in zip(SEGMENTS, counts, strict=True)},
        "answer": reading.answer,
        "answer_token_ids": reading.signals.answer_ids.tolist(),
        "truncated": reading.signals.truncated,
        "mean_logprob": None if reading.reason else float(np.mean(reading.signals.logprob, dtype=np.float64)),
        "model": model,
        "writer": conversation.writer if given else model,
        "reason": reading.reason,
    }
    return _one_sample(row)


def _positions(reading: Reading) -> Int[np.ndarray, " generated"]:
    """Return the place in the conversation of each token of the answer."""
    return np.flatnonzero(reading.signals.segments == SEGMENTS.index("generated"))


def _attention(reading: Reading) -> pl.DataFrame:
    by_segment = {"lift": reading.signals.lift, "contribution": reading.signals.contribution}
    more = {
        f"{quantity}_{name}": values[:, :, segment].astype(np.float64).ravel()
        for quantity, values in by_segment.items()
        for segment, name in enumerate(SEGMENTS)
    }
    more["lookback"] = reading.signals.lookback.astype(np.float64).ravel()
    more["entropy"] = reading.signals.entropy.astype(np.float64).ravel()
    return conform(_per_head(reading, reading.signals.mass, more), TABLES["attention"])


def _checkpoint(
    reading: Reading,
    n_generated: int,
    means: tuple[Float[np.ndarray, "layer head segment"], Float[np.ndarray, "layer head"]],
) -> pl.DataFrame:
    mass, lookback = means
    frame = _per_head(reading, mass, {"lookback": lookback.astype(np.float64).ravel()})
    frame = frame.with_columns(pl.lit(n_generated).alias("n_generated"))
    return conform(frame, TABLES["checkpoints"])


def _rows(reading: Reading, row_mass: Float[np.ndarray, "layer head generated segment"]) -> pl.DataFrame:
    layer, head, row = np.indices(row_mass.shape[:3])
    known = reading.signals.row_previous
    previous = np.full(row_mass.shape[:3], np.nan) if known is None else known
    masses = {name: pl.Series(row_mass[..., segment].ravel(), dtype=pl.Float16) for segment, name in enumerate(MASSES)}
    frame = pl.DataFrame(
        {
            "id": reading.conversation.id,
            "layer": np.asarray(reading.signals.layers)[layer.ravel()],
            "head": head.ravel(),
            "position": _positions(reading)[row.ravel()],
            "answer_position": row.ravel(),
            **masses,
            "previous_token": pl.Series(previous.ravel(), dtype=pl.Float16),
        }
    )
    return conform(frame.with_columns(pl.selectors.float().fill_nan(None)), TABLES["rows"])


def _per_head(
    reading: Reading, masses: Float[np.ndarray, "layer head segment"], more: Mapping[str, np.ndarray]
) -> pl.DataFrame:
    """Return one row per layer and head with masses, shares and more columns."""
    n_layers, n_heads, _ = masses.shape
    mass = {name: masses[:, :, segment].astype(np.float64).ravel() for segment, name in enumerate(MASSES)}
    with np.errstate(invalid="ignore"):
        total = mass["PAM"] + mass["QAM"] + mass["SAM"]
        shares = {share: mass[share.removesuffix("_norm")] / total for share in SHARES}
    return pl.DataFrame(
        {
            "layer": np.repeat(reading.signals.layers, n_heads),
            "head": np.tile(np.arange(n_heads), n_layers),
            **mass,
            **shares,
            **more,
        }
    ).with_columns(
        pl.lit(reading.conversation.id).alias("id"),
        pl.lit(reading.conversation.dataset).alias("dataset"),
        pl.selectors.float().fill_nan(None),
    )


def _tokens(reading: Reading) -> pl.DataFrame:
    n_tokens, generated = len(reading.signals.token_ids), _positions(reading)
    answer_position: list[int | None] = [None] * n_tokens
    for place, position in enumerate(generated.tolist()):
        answer_position[position] = place
    signals = reading.signals
    scores = {name: np.full(n_tokens, np.nan) for name in ("logprob", "entropy", "margin")}
    if reading.reason is None:
        for values, found in zip(
            scores.values(), (signals.logprob, signals.token_entropy, signals.margin), strict=True
        ):
            values[generated] = found
    frame = pl.DataFrame(
        {
            "id": reading.conversation.id,
            "position": np.arange(n_tokens),
            "answer_position": pl.Series(answer_position, dtype=pl.Int32),
            "token_id": reading.signals.token_ids,
            "text": list(reading.token_texts),
            "segment": [SEGMENTS[code] for code in reading.signals.segments],
            **scores,
        }
    ).with_columns(pl.col(*scores).fill_nan(None))
    return conform(frame, TABLES["tokens"])


def _activity(reading: Reading, concepts: Sequence[str]) -> pl.DataFrame:
    n_layers, n_generated, n_directions = reading.signals.activity.shape
    if not n_directions:
        return empty(TABLES["activity"])
    layer, row, direction = np.indices((n_layers, n_generated, n_directions))
    frame = pl.DataFrame(
        {
            "id": reading.conversation.id,
            "layer": layer.ravel(),
            "position": _positions(reading)[row.ravel()],
            "answer_position": row.ravel(),
            "concept": [concepts[index] for index in direction.ravel()],
            "activity": reading.signals.activity.astype(np.float64).ravel(),
        }
    ).with_columns(pl.col("activity").fill_nan(None))
    return conform(frame, TABLES["activity"])
