"""Runs made for tests: attention, activity, confidence and hidden states that carry a label from some token on."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from foretell.schema.tables import MASSES, SHARES
from foretell.storage.runs import Run

N_LAYERS, N_HEADS, WIDTH = 2, 2, 6
POOLS = ("last prompt token", "mean over answer", "last answer token")
_SOME_WORDS = tuple(f"word{index}" for index in range(40))


@dataclass(frozen=True)
class RunOfStates(Run):
    """A run whose hidden states are in memory: `(sample, width)` by layer, pool and number of tokens."""

    states: dict[tuple[int, str, int], tuple[list[str], np.ndarray]] = field(default_factory=dict, compare=False)
    lengths: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def hidden_states(self) -> pl.DataFrame:
        rows = [
            {"id": one, "layer": layer, "pool": pool, "n_generated": after}
            for (layer, pool, after), (ids, _) in self.states.items()
            for one in ids
        ]
        schema = {"id": pl.String(), "layer": pl.Int32(), "pool": pl.String(), "n_generated": pl.Int32()}
        return pl.DataFrame(rows, schema=schema)

    def hidden(self, layer: int, pool: str, n_generated: int | None = None) -> tuple[list[str], np.ndarray]:
        if n_generated is not None:
            return self.states[layer, pool, n_generated]
        found: dict[str, np.ndarray] = {}
        for (one, other, after), (ids, states) in self.states.items():
            if (one, other) == (layer, pool):
                for id_, state in zip(ids, states, strict=True):
                    if pool == POOLS[0] or after == self.lengths[id_]:
                        found[id_] = state
        return list(found), np.array(list(found.values()), dtype=np.float32)


def planted_run(
    path: Path,
    *,
    planted: Collection[str] = (),
    since: int = 8,
    effect: float = 1.5,
    n_samples: int = 120,
    words_since: int | None = None,
    strata: bool = False,
    hidden: bool = True,
    turned: bool = False,
    seed: int = 0,
) -> RunOfStates:
    """Return a run in which the planted families carry the label from token `since` on, and nothing else does.

    Answers have 12 to 40 tokens. With `words_since`, token number `words_since` of each answer says the label.
    Ids are in the opposite order if they are `turned`.
    """
    generator = np.random.default_rng(seed)
    ids = [f"s{n_samples - index if turned else index:03d}" for index in range(n_samples)]
    label = generator.permutation(np.arange(n_samples) % 2)
    lengths = generator.integers(12, 41, n_samples)
    run = Run.create(path, {"model": "none", "seed": seed})
    known = {one: effect if one in planted else 0.0 for one in ("attention", "activity", "confidence", "hidden states")}
    words = np.array(_SOME_WORDS)[generator.integers(0, len(_SOME_WORDS), (n_samples, 40))]
    if words_since is not None:
        words[:, words_since - 1] = np.where(label == 1, "yes", "no")
    samples = pl.DataFrame(
        {
            "id": ids,
            "dataset": "made",
            "group": ids,
            "stratum": [f"kind {index % 3}" for index in range(n_samples)] if strata else None,
            "messages": [json.dumps([{"role": "user", "content": " ".join(row[:6])}]) for row in words[::-1]],
            "answer": [" ".join(row[:size]) for row, size in zip(words, lengths, strict=True)],
            "behavior_label": label,
            "n_tokens_prompt": generator.integers(5, 60, n_samples),
            "n_tokens_query": generator.integers(5, 60, n_samples),
            "n_tokens_generated": lengths,
            "model": "none",
        },
        schema_overrides={"stratum": pl.String},
    )
    tables = {
        "samples": samples,
        **_attention(generator, ids, label, lengths, since, known["attention"]),
        "tokens": _tokens(generator, ids, label, lengths, since, known["confidence"], words),
        "activity": _activity(generator, ids, label, lengths, since, known["activity"]),
    }
    run.append("part", tables)  # type: ignore[arg-type]
    run.finish()
    states = _states(generator, ids, label, lengths, since, known["hidden states"]) if hidden else {}
    return RunOfStates(run.path, run._keep, states, dict(zip(ids, lengths.tolist(), strict=True)))


def _later(after: int | np.ndarray, since: int) -> np.ndarray:
    return np.asarray(np.asarray(after) >= since, dtype=float)


def _attention(generator, ids, label, lengths, since, effect):  # type: ignore[no-untyped-def]
    """Return the tables attention and checkpoints: every checkpoint has noise of its own."""

    def rows(here: np.ndarray, after: np.ndarray) -> pl.DataFrame:
        n = len(here)
        sample, layer, head = (axis.ravel() for axis in np.indices((n, N_LAYERS, N_HEADS)))
        logits = generator.normal(size=(sample.size, 5)) * 0.7
        logits[:, 1] += effect * (label[here][sample] * _later(after[sample], since)) * ((layer == 1) & (head == 0))
        masses = np.exp(logits)
        masses /= masses.sum(axis=1, keepdims=True)
        shares = masses[:, [1, 2, 0]] / masses[:, :3].sum(axis=1, keepdims=True)
        columns = {**dict(zip(MASSES, masses.T, strict=True)), **dict(zip(SHARES, shares.T, strict=True))}
        names = np.array(ids)[here][sample]
        about = {"id": names, "dataset": "made", "layer": layer, "head": head, "n_generated": after[sample]}
        return pl.DataFrame({**about, **columns})

    every = np.arange(len(ids))
    first = [
        rows(np.flatnonzero(lengths >= after), np.full(int((lengths >= after).sum()), after))
        for after in (1, 2, 4, 8, 16, 32)
    ]
    return {"attention": rows(every, lengths), "checkpoints": pl.concat(first)}


def _by_token(ids, lengths):  # type: ignore[no-untyped-def]
    sample = np.repeat(np.arange(len(ids)), lengths)
    place = np.concatenate([np.arange(size) for size in lengths])
    return sample, place, np.array(ids)[sample]


def _tokens(generator, ids, label, lengths, since, effect, words):  # type: ignore[no-untyped-def]
    sample, place, names = _by_token(ids, lengths)
    surprise = generator.exponential(size=sample.size)
    entropy = generator.exponential(size=sample.size) + effect * label[sample] * _later(place + 1, since)
    return pl.DataFrame(
        {
            "id": names,
            "position": place + 20,
            "answer_position": place,
            "token_id": 0,
            "text": [f"{words[row, column]} " for row, column in zip(sample, place, strict=True)],
            "segment": "generated",
            "logprob": -surprise,
            "entropy": entropy,
        }
    )


def _activity(generator, ids, label, lengths, since, effect):  # type: ignore[no-untyped-def]
    sample, place, names = _by_token(ids, lengths)
    frames = []
    for layer in range(N_LAYERS):
        value = generator.normal(size=sample.size) + effect * label[sample] * _later(place + 1, since) * layer
        about = {"id": names, "layer": layer, "position": place + 20, "answer_position": place, "concept": "truth"}
        frames.append(pl.DataFrame({**about, "activity": value}))
    return pl.concat(frames)


def _states(generator, ids, label, lengths, since, effect):  # type: ignore[no-untyped-def]
    found = {}
    for layer in range(N_LAYERS):
        found[layer, POOLS[0], 0] = (list(ids), generator.normal(size=(len(ids), WIDTH)).astype(np.float32))
        for pool in POOLS[1:]:
            for after in sorted({1, 2, 4, 8, 16, 32, *lengths.tolist()}):
                doubled = after & (after - 1) == 0
                here = np.flatnonzero((lengths >= after) if doubled else (lengths == after))
                states = generator.normal(size=(len(here), WIDTH))
                states[:, 0] += effect * label[here] * _later(after, since)
                found[layer, pool, after] = ([ids[one] for one in here], states.astype(np.float32))
    return found
