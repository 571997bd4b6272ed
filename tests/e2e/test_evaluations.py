"""Logs that the harnesses' own code writes here, with models that only pretend, read and joined again.

Both packages are large and no part of any extra: these tests are for machines that have them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from foretell.conversations.formats import read_conversations
from foretell.records.label_rows import read_label_rows
from foretell.schema.tables import SAMPLES, conform
from foretell.storage.export import export
from foretell.storage.runs import Run

N_SAMPLES = 6


def agrees_with_its_labels(path: Path) -> None:
    found, labels = read_conversations(path), read_label_rows(path).frame
    assert labels["id"].to_list() == [one.id for one in found]
    assert labels["behavior_label"].to_list() == [one.behavior_label for one in found]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["eval", "json"])
def test_a_log_of_inspect_ai(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="inspect_ai is not installed")
    import inspect_ai
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import Score, includes, mean, scorer
    from inspect_ai.solver import generate, solver, system_message

    @scorer(metrics={"tone": [mean()], "wit": [mean()]})  # type: ignore[untyped-decorator,unused-ignore]
    def judge() -> Any:
        async def score(state: Any, target: Any) -> Any:
            return Score(value={"tone": int(state.sample_id) % 2, "wit": 0.5})

        return score

    @solver  # type: ignore[untyped-decorator,unused-ignore]
    def fails_once() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            if int(state.sample_id) == 3 and state.epoch == 2:
                raise ValueError("planned")
            return state

        return solve

    def said(number: int) -> Any:
        output = ModelOutput.from_content("mockllm/model", "It is 2." if number % 3 else "It is 3.")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    samples = [
        Sample(id=n, input="What is 1 + 1? " * 20, target="2", metadata={"category": "odd" if n % 2 else "even"})
        for n in range(1, N_SAMPLES + 1)
    ]
    task = inspect_ai.Task(
        dataset=MemoryDataset(samples),
        solver=[system_message("Be short."), fails_once(), generate()],
        scorer=[includes(), judge()],
        epochs=2,
        name="sums",
        fail_on_error=False,
    )
    model = get_model("mockllm/model", custom_outputs=[said(n) for n in range(4 * N_SAMPLES)])
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(tmp_path), log_format=kind, display="none")
    path = Path(log.location.removeprefix("file://"))

    expected = {}
    for sample in inspect_ai.log.read_eval_log(log.location).samples or []:
        name = str(sample.id) if sample.epoch == 1 else f"{sample.id}-epoch-{sample.epoch}"
        scores = sample.scores or {}
        expected[name] = (
            [(turn.role, turn.text) for turn in sample.messages if turn.role != "assistant"],
            None if sample.error else sample.output.completion,
            None if sample.error else int(scores["includes"].value == "C"),
            str(sample.id),
            sample.metadata["category"],
        )
    found = read_conversations(path)
    assert {
        one.id: (
            [(turn.role, turn.content) for turn in one.messages],
            one.answer,
            one.behavior_label,
            one.group,
            one.stratum,
        )
        for one in found
    } == expected
    assert len(found) == 2 * N_SAMPLES
    assert {one.writer for one in found} == {"mockllm/model"}
    (failed,) = (one for one in found if one.behavior_label is None)
    assert failed.label_reason == "the sample failed: ValueError('planned')"
    tones = {one.id: one.behavior_label for one in read_conversations(path, scorer="judge.tone") if one.answer}
    assert tones == {name: int(group) % 2 for name, (_, answer, _, group, _) in expected.items() if answer}
    agrees_with_its_labels(path)
    joins_the_dataframes_of_inspect_ai(path, tmp_path)


def joins_the_dataframes_of_inspect_ai(path: Path, folder: Path) -> None:
    import pandas as pd
    from inspect_ai.analysis import samples_df

    run = Run.create(folder / "run", {"model": "m"})
    rows = [
        {
            "id": one.id,
            "dataset": one.dataset,
            "group": one.group,
            "messages": one.messages_json(),
            "behavior_label": one.behavior_label,
            "writer": one.writer,
            "model": "m",
        }
        for one in read_conversations(path)
    ]
    run.append("part", {"samples": conform(pl.DataFrame(rows), SAMPLES)})
    export(run, folder / "scores.parquet")
    joined = samples_df(str(path)).merge(
        pd.read_parquet(folder / "scores.parquet"), on=["id", "epoch"], how="outer", validate="one_to_one"
    )
    assert len(joined) == 2 * N_SAMPLES
    scored = joined.dropna(subset="score_includes")
    assert len(scored) == 2 * N_SAMPLES - 1
    assert ((scored["score_includes"] == "C") == (scored["behavior_label"] == 1)).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chat", [False, True])
def test_logs_of_lm_evaluation_harness(chat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import lm_eval
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.models.dummy import DummyLM
    from lm_eval.tasks import TaskManager

    class Pretender(DummyLM):  # type: ignore[misc]
        tokenizer_name = "none"

        def chat_template(self, chat_template: Any = False) -> str:
            return "chatml"

        def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
            turns = (f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in chat_history)
            return "".join(turns) + "<|im_start|>assistant\n"

    documents: list[dict[str, Any]] = [
        {"question": f"What is {n} + {n}?", "choices": [str(2 * n), "a longer answer", "7"], "answer": n % 3}
        | {"target": "lol" if n % 2 else "3", "category": "odd" if n % 2 else "even"}
        for n in range(N_SAMPLES)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, documents)))
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "Q: {{question}}\nA:",
    }
    tasks: dict[str, dict[str, Any]] = {
        "own_choice": {
            "output_type": "multiple_choice",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        "own_text": {
            "output_type": "generate_until",
            "doc_to_target": "{{target}}",
            "generation_kwargs": {"until": ["\n"]},
            "filter_list": [
                {"name": name, "filter": [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]}
                for name, pattern in (("strict", "([0-9]+)"), ("loose", "(l.l)"))
            ],
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        },
    }
    for name, settings in tasks.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"task": name, **shared, **settings}))
    random.seed(0)
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    tracker.general_config_tracker.log_experiment_args(
        model_source="hf",
        model_args="pretrained=org/small",
        system_instruction="Be short.",
        chat_template=None,
        fewshot_as_multiturn=False,
    )
    results = lm_eval.simple_evaluate(
        model=Pretender(),
        tasks=list(tasks),
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        log_samples=True,
        apply_chat_template=chat,
        system_instruction="Be short." if chat else None,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for name, records in samples.items():
        tracker.save_results_samples(task_name=name, samples=records)
        (path,) = (tmp_path / "out").rglob(f"samples_{name}_*.jsonl")
        for key, value in results["results"][name].items():
            metric, _, filter_ = key.partition(",")
            if not filter_ or metric.endswith("_stderr"):
                continue
            found = read_conversations(path, scorer=metric if filter_ == "none" else key)
            labels = [one.behavior_label or 0 for one in found]
            assert sum(labels) / N_SAMPLES == pytest.approx(value), key
            if metric.startswith("acc"):
                right = [document["choices"][document["answer"]] for document in documents]
                assert labels == [
                    int((one.answer or "").strip() == text) for one, text in zip(found, right, strict=True)
                ]
        assert [(one.dataset, one.stratum, one.writer) for one in found] == [
            (name, document["category"], "org/small") for document in documents
        ]
        roles = [turn.role for turn in found[0].messages]
        assert roles == (["system", "user"] if chat else ["user"])
        assert found[0].messages[-1].content == "Q: What is 0 + 0?\nA:"
        agrees_with_its_labels(path)
