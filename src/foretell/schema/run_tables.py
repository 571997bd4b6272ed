"""The tables of a run: samples, labels, attention, checkpoints, rows, tokens, activity, hidden states."""

from __future__ import annotations

import polars as pl

from foretell.schema.columns import DATASET, HEAD, ID, LAYER, Column, Table, fraction, number

__all__ = [
    "ACTIVITY",
    "ATTENTION",
    "CHECKPOINTS",
    "HIDDEN",
    "LABELS",
    "MASSES",
    "POOLS",
    "ROWS",
    "SAMPLES",
    "SCORES",
    "SEGMENTS",
    "SHARES",
    "TOKENS",
]

SEGMENTS = ("system", "prompt", "query", "template", "generated")
"""The five segments that cover every token, in the order of every segment axis (codes 0 to 4)."""

MASSES = ("SAM", "PAM", "QAM", "TAM", "GAM")
"""Column of each segment's mass, in the order of `SEGMENTS`."""

SHARES = ("PAM_norm", "QAM_norm", "SAM_norm")
"""The three normalised shares: each mass over PAM + QAM + SAM."""

_POSITION = Column("position", pl.Int32(), "the token's place in the conversation, from 0", 0)
POOLS = ("last prompt token", "mean over answer", "last answer token")
"""What hidden states are pooled over; the first one is the state before the answer's first token."""

_LOOKBACK = fraction("lookback", "mean weight of a context token over the sum of that and of a generated one")
_ANSWER_POSITION = Column("answer_position", pl.Int32(), "the token's place in the answer, from 0", 0)

LABELS = Table(
    "labels",
    ("id",),
    (
        ID,
        Column("behavior_label", pl.Int8(), "1 the behaviour happened, 0 it did not", 0, 1, null="unknown"),
        Column("label_source", pl.String(), "verifier, file or judge that said so", null="no label"),
        Column("label_reason", pl.String(), "what the source saw, or why there is no label", null="not given"),
    ),
)

SAMPLES = Table(
    "samples",
    ("id",),
    (
        ID,
        DATASET,
        Column("group", pl.String(), "samples of one group depend on each other and never straddle a split"),
        Column("stratum", pl.String(), "kind of task, which may itself predict the label", null="not given"),
        Column("messages", pl.String(), "the conversation before the answer, as JSON"),
        Column("answer", pl.String(), "what the model wrote", null="no answer"),
        Column(
            "answer_token_ids",
            pl.List(pl.Int32()),
            "its tokens, as they were generated or fed",
            null="no answer, or one that was not turned into tokens",
        ),
        Column("behaviour", pl.String(), "what label 1 means, such as: answered correctly", null="not given"),
        *LABELS.columns[1:],
        Column("verifier", pl.String(), "the check of the answer, as JSON", null="none"),
        *(
            Column(f"n_tokens_{segment}", pl.Int32(), f"tokens in the segment {segment}", 0, null="not read")
            for segment in SEGMENTS
        ),
        Column("truncated", pl.Boolean(), "the answer ended at the token limit", null="answer was given"),
        Column(
            "mean_logprob",
            pl.Float64(),
            "mean log-probability (nats) of the answer's tokens",
            None,
            0,
            null="no tokens, or not finite (the reason says so)",
        ),
        Column("model", pl.String(), "name of the model that was read"),
        Column("writer", pl.String(), "name of the model that wrote the answer", null="not known"),
        Column("reason", pl.String(), "why the sample has no attention rows", null="it was read"),
    ),
)

_NOT_READ = "not read; the reason says why"

SCORES = Table(
    "scores",
    ("id", "epoch"),
    (
        Column("id", pl.String(), "the sample, as the log of an evaluation names it"),
        Column("epoch", pl.Int64(), "its epoch in the log, from 1", 1),
        Column("sample", pl.String(), "the sample, as the run names it"),
        *(column for column in SAMPLES.columns if column.name in {"dataset", "group", "stratum"}),
        *LABELS.columns[1:],
        *(column for column in SAMPLES.columns if column.name.startswith("n_tokens_")),
        *(column for column in SAMPLES.columns if column.name in {"mean_logprob", "model", "writer", "reason"}),
        *(
            Column(mass, pl.Float64(), f"mass on the segment {segment}, mean over layers and heads", 0, 1, _NOT_READ)
            for mass, segment in zip(MASSES, SEGMENTS, strict=True)
        ),
        *(
            Column(share, pl.Float64(), f"{share.removesuffix('_norm')} / (PAM + QAM + SAM), mean", 0, 1, _NOT_READ)
            for share in SHARES
        ),
    ),
)
"""One row per sample, for tools that know nothing of runs (`foretell.export`)."""

ATTENTION = Table(
    "attention",
    ("id", "layer", "head"),
    (
        ID,
        DATASET,
        LAYER,
        HEAD,
        *(
            fraction(mass, f"mass on the segment {segment}, mean over the generated rows")
            for mass, segment in zip(MASSES, SEGMENTS, strict=True)
        ),
        *(fraction(share, f"{share.removesuffix('_norm')} / (PAM + QAM + SAM)") for share in SHARES),
        _LOOKBACK,
        *(
            number(f"lift_{segment}", "mass over the segment's share of visible tokens; 1 = uniform", 0)
            for segment in SEGMENTS
        ),
        *(
            fraction(f"contribution_{segment}", f"share of what the head writes that comes from {segment}")
            for segment in SEGMENTS
        ),
        number("entropy", "entropy (nats) of the head's weights over the tokens, mean over the generated rows", 0),
    ),
)

TOKENS = Table(
    "tokens",
    ("id", "position"),
    (
        ID,
        _POSITION,
        Column("answer_position", pl.Int32(), _ANSWER_POSITION.meaning, 0, null="not a token of the answer"),
        Column("token_id", pl.Int32(), "id in the tokenizer's vocabulary", 0),
        Column("text", pl.String(), "what the token adds to the text; a character of several tokens is the last one's"),
        Column("segment", pl.String(), "one of the five segments"),
        Column(
            "logprob",
            pl.Float64(),
            "log-probability (nats) given all before",
            None,
            0,
            null="not generated, or not finite",
        ),
        Column(
            "entropy",
            pl.Float64(),
            "entropy (nats) of the model's choice",
            0,
            None,
            null="not generated, or not finite",
        ),
        Column(
            "margin",
            pl.Float64(),
            "probability of the likeliest token minus that of the second",
            0,
            1,
            null="not generated, not finite, or entropies were not read",
        ),
    ),
)

CHECKPOINTS = Table(
    "checkpoints",
    ("id", "layer", "head", "n_generated"),
    (
        ID,
        DATASET,
        LAYER,
        HEAD,
        Column("n_generated", pl.Int32(), "first generated tokens that count: 1, 2, 4, 8, 16, ...", 1),
        *(
            fraction(mass, f"mass on the segment {segment}, mean over the first n_generated rows")
            for mass, segment in zip(MASSES, SEGMENTS, strict=True)
        ),
        *(fraction(share, f"{share.removesuffix('_norm')} / (PAM + QAM + SAM)") for share in SHARES),
        _LOOKBACK,
    ),
)

HIDDEN = Table(
    "hidden",
    ("id", "layer", "pool", "n_generated"),
    (
        ID,
        LAYER,
        Column("pool", pl.String(), f"tokens that the state is pooled over: {', '.join(POOLS)}"),
        Column(
            "n_generated",
            pl.Int32(),
            "first generated tokens that count: 0 for the prompt; 1, 2, 4, 8, ..., all of them",
            0,
        ),
        Column("shard", pl.String(), "safetensors file in the same folder, whose tensor layer/pool has the state"),
        Column("row", pl.Int32(), "row of that tensor", 0),
    ),
)

ROWS = Table(
    "rows",
    ("id", "layer", "head", "position"),
    (
        ID,
        LAYER,
        HEAD,
        _POSITION,
        _ANSWER_POSITION,
        *(
            Column(mass, pl.Float16(), f"mass of this row alone on the segment {segment}", 0, 1, null="undefined")
            for mass, segment in zip(MASSES, SEGMENTS, strict=True)
        ),
        Column("previous_token", pl.Float16(), "weight on the token right before", 0, 1, null="no weights are seen"),
    ),
)

ACTIVITY = Table(
    "activity",
    ("id", "layer", "position", "concept"),
    (
        ID,
        LAYER,
        _POSITION,
        _ANSWER_POSITION,
        Column("concept", pl.String(), "what the direction stands for"),
        number("activity", "(hidden . direction - mean) / standard deviation"),
    ),
)
