"""Runs made for tests: attention, activity, confidence and hidden states that carry a label from some token on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from foretell.schema.tables import MASSES, SHARES
from foretell.storage.commits.job_identity import job_hash
from foretell.storage.runs import Run, RunTable

N_LAYERS, N_HEADS, WIDTH = 2, 2, 6
DOUBLED = (1, 2, 4, 8, 16, 32)
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
    since: float = 8,
    effect: float = 1.5,
    n_samples: int = 120,
    words_since: int | None = None,
    commas_since: int | None = None,
    strata: bool = False,
    hidden: bool = True,
    turned: bool = False,
    tokens: tuple[int, int] = (12, 40),
    prefix: str = "s",
    seed: int = 0,
) -> RunOfStates:
    """Return a run in which the planted families carry the label from token `since` on, and nothing else does.

    Below 1 `since` is a share of each answer.
    Answers have 12 to 40 tokens, or as many as `tokens` says. With `words_since`, that token of each answer says the
    label; with `commas_since` that token has a comma where the label is 0, and the samples' check is to have none.
    Ids are in the opposite order if they are `turned`, and begin with `prefix`.
    """
    generator = np.random.default_rng(seed)
    ids = [f"{prefix}{n_samples - index if turned else index:03d}" for index in range(n_samples)]
    label = generator.permutation(np.arange(n_samples) % 2)
    lengths = generator.integers(tokens[0], tokens[1] + 1, n_samples)
    run = Run.create(path, {"model": "none", "seed": seed})
    made = _Made(generator, np.array(ids), label, lengths, since)
    size = {one: effect if one in planted else 0.0 for one in ("attention", "activity", "confidence", "hidden states")}
    words = np.array(_SOME_WORDS)[generator.integers(0, len(_SOME_WORDS), (n_samples, 40))]
    if words_since is not None:
        words[:, words_since - 1] = np.where(label == 1, "yes", "no")
    if commas_since is not None:
        words = words.astype("U8")
        words[:, commas_since - 1] = np.char.add(words[:, commas_since - 1], np.where(label == 1, "", ","))
    samples = pl.DataFrame(
        {
            "id": ids,
            "dataset": "made",
            "group": ids,
            "stratum": [f"kind {index % 3}" for index in range(n_samples)] if strata else None,
            "messages": [json.dumps([{"role": "user", "content": " ".join(row[:6])}]) for row in words[::-1]],
            "answer": [" ".join(row[:size]) for row, size in zip(words, lengths, strict=True)],
            "behavior_label": label,
            "verifier": None if commas_since is None else json.dumps({"name": "no_commas"}),
            "n_tokens_prompt": generator.integers(5, 60, n_samples),
            "n_tokens_query": generator.integers(5, 60, n_samples),
            "n_tokens_generated": lengths,
            "model": "none",
        },
        schema_overrides={"stratum": pl.String, "verifier": pl.String},
    )
    tables: dict[RunTable, pl.DataFrame] = {
        "samples": samples,
        "attention": made.heads(np.arange(n_samples), lengths, size["attention"]),
        "checkpoints": pl.concat(made.first_heads(size["attention"])),
        "tokens": made.tokens(size["confidence"], words),
        "activity": made.activity(size["activity"]),
    }
    run.append("part", tables)
    run.finish()
    states = made.states(size["hidden states"]) if hidden else {}
    return RunOfStates(run.path, _keep=run._keep, states=states, lengths=dict(zip(ids, lengths.tolist(), strict=True)))


def give_job(run: Run, job: Mapping[str, object]) -> None:
    """Let a run be of another job, with everything else as it is."""
    parts = [replace(part, job=job_hash(job)) for part in run.parts]
    run.write_manifest(replace(run.read_manifest(), job=job))
    for part in parts:
        run.commit(part)


@dataclass(frozen=True)
class _Made:
    """Noise, and an effect of a given size on samples of label 1 from token `since` on."""

    generator: np.random.Generator
    ids: np.ndarray
    label: np.ndarray
    lengths: np.ndarray
    since: float

    def _effect(self, size: float, sample: np.ndarray, after: np.ndarray) -> np.ndarray:
        first = self.since if self.since >= 1 else self.since * self.lengths[sample]
        return np.asarray(size * self.label[sample] * (after >= first))

    def heads(self, here: np.ndarray, after: np.ndarray, effect: float) -> pl.DataFrame:
        """Return attention of some samples after so many tokens; every moment has noise of its own."""
        row, layer, head = (axis.ravel() for axis in np.indices((len(here), N_LAYERS, N_HEADS)))
        sample = here[row]
        logits = self.generator.normal(size=(sample.size, 5)) * 0.7
        logits[:, 1] += self._effect(effect, sample, after[row]) * ((layer == 1) & (head == 0))
        masses = np.exp(logits)
        masses /= masses.sum(axis=1, keepdims=True)
        shares = masses[:, [1, 2, 0]] / masses[:, :3].sum(axis=1, keepdims=True)
        columns = {**dict(zip(MASSES, masses.T, strict=True)), **dict(zip(SHARES, shares.T, strict=True))}
        about = {"id": self.ids[sample], "dataset": "made", "layer": layer, "head": head, "n_generated": after[row]}
        return pl.DataFrame({**about, **columns})

    def first_heads(self, effect: float) -> list[pl.DataFrame]:
        """Return attention after 1, 2, 4, ... tokens of the answers that have as many."""
        found = []
        for after in DOUBLED:
            here = np.flatnonzero(self.lengths >= after)
            found.append(self.heads(here, np.full(len(here), after), effect))
        return found

    def _by_token(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        sample = np.repeat(np.arange(len(self.ids)), self.lengths)
        place = np.concatenate([np.arange(size) for size in self.lengths])
        return sample, place, {"id": self.ids[sample], "position": place + 20, "answer_position": place}

    def tokens(self, effect: float, words: np.ndarray) -> pl.DataFrame:
        """Return the tokens of the answers, one word each."""
        sample, place, about = self._by_token()
        entropy = self.generator.exponential(size=sample.size) + self._effect(effect, sample, place + 1)
        text = [f"{words[row, column]} " for row, column in zip(sample, place, strict=True)]
        more = {"token_id": 0, "text": text, "segment": "generated", "entropy": entropy}
        return pl.DataFrame({**about, **more, "logprob": -self.generator.exponential(size=sample.size)})

    def activity(self, effect: float) -> pl.DataFrame:
        """Return the activity of one concept, in which later layers carry more of the label."""
        sample, place, about = self._by_token()
        frames = []
        for layer in range(N_LAYERS):
            value = self.generator.normal(size=sample.size) + self._effect(effect * layer, sample, place + 1)
            frames.append(pl.DataFrame({**about, "layer": layer, "concept": "truth", "activity": value}))
        return pl.concat(frames)

    def states(self, effect: float) -> dict[tuple[int, str, int], tuple[list[str], np.ndarray]]:
        """Return states whose first column carries the label."""
        found = {}
        for layer in range(N_LAYERS):
            prompt = self.generator.normal(size=(len(self.ids), WIDTH))
            found[layer, POOLS[0], 0] = (self.ids.tolist(), prompt.astype(np.float32))
            for pool in POOLS[1:]:
                for after in sorted({*DOUBLED, *self.lengths.tolist()}):
                    here = np.flatnonzero(self.lengths >= after if after in DOUBLED else self.lengths == after)
                    states = self.generator.normal(size=(len(here), WIDTH))
                    states[:, 0] += self._effect(effect, here, np.full(len(here), after))
                    found[layer, pool, after] = (self.ids[here].tolist(), states.astype(np.float32))
        return found
