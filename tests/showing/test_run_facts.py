"""Facts about a run on the report page."""

import json

import polars as pl

from foretell.schema.tables import SEGMENTS
from foretell.showing.run_facts import run_facts
from foretell.storage.runs import Run

JOB = {"model": "toy", "dtype": "float32", "answers": "generate", "sampling": {"max_new_tokens": 8}}


def sample(name: str, counts: list[int], *, truncated: bool = False, reason: str | None = None) -> pl.DataFrame:
    row = {"id": name, "dataset": "alpaca", "group": name, "messages": json.dumps([]), "model": "toy"}
    tokens = {f"n_tokens_{segment}": count for segment, count in zip(SEGMENTS, counts, strict=True)}
    return pl.DataFrame(
        [{**row, **tokens, "truncated": truncated, "reason": reason}], schema_overrides={"reason": pl.String}
    )


def run() -> Run:
    made = Run.create(None, JOB)
    texts = [("<s>", "template"), ("Be", "system"), (" brief", "system"), ("Hi", "query"), ("Yo", "generated")]
    tokens = pl.DataFrame(
        {
            "id": ["whole"] * len(texts),
            "position": range(len(texts)),
            "token_id": range(len(texts)),
            "text": [text for text, _ in texts],
            "segment": [segment for _, segment in texts],
        }
    )
    samples = [
        sample("short", [0, 0, 1, 1, 1]),
        sample("whole", [2, 1, 1, 1, 1], truncated=True),
        sample("empty", [0, 0, 0, 0, 0], reason="the answer has no tokens"),
    ]
    made.append("part", {"samples": pl.concat(samples), "tokens": tokens})
    return made


def test_the_example_has_one_span_per_segment() -> None:
    spans = [(span.text, span.segment) for span in run_facts(run()).example]
    assert spans == [("<s>", "template"), ("Be brief", "system"), ("Hi", "query"), ("Yo", "generated")]


def test_the_notes_say_how_answers_were_made_and_what_is_missing() -> None:
    facts = run_facts(run(), commands=("foretell demo",))
    assert (facts.model, facts.n_conversations, facts.commands) == ("toy (float32)", 3, ("foretell demo",))
    assert facts.notes == (
        "answers were generated, up to 8 tokens",
        "1 answers were cut at the token limit and labelled as they are",
        "1 samples were not read: the answer has no tokens",
    )


def test_a_run_of_which_nothing_was_read_has_no_example() -> None:
    made = Run.create(None, JOB)
    made.append("part", {"samples": sample("a", [0, 0, 0, 0, 0], reason="the answer has no tokens")})
    assert run_facts(made).example == ()


def test_what_made_a_run_is_named_by_checksums() -> None:
    job = {**JOB, "weights": "v2:12", "sampling": {"max_new_tokens": 8, "seed": 3}}
    made = Run.create(None, {**job, "directions": [{"concept": "lying", "vectors": "ab12"}]})
    made.append("part", {"samples": sample("a", [0, 0, 0, 0, 0], reason="the answer has no tokens")})
    facts = dict(run_facts(made).provenance)
    assert facts["weights"] == "v2:12"
    assert facts["answers"] == "max_new_tokens 8, seed 3"
    assert facts["direction “lying” (SHA-256)"] == "ab12"
    assert "tokenizer" not in facts
