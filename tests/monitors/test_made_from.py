"""Runs of other models are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import foretell
from foretell.errors import InputError
from foretell.monitors.made_from import precision
from tests.stats.runs import give_job, planted_run

JOB = {"model": "m", "weights": "v2:1", "template": "t", "dtype": "float32", "directions": []}


def with_job(path: Path, **job: object) -> foretell.Run:
    run = planted_run(path, n_samples=60)
    give_job(run, {**JOB, **job})
    return run


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> foretell.Monitor:
    run = with_job(tmp_path_factory.mktemp("made") / "run")
    return foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.3, confidence=0.8)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"weights": "v2:2"}, r"another model \(its weights .*: v2:1, and here it is v2:2"),
        ({"template": "u"}, "another chat template: t, and here it is u"),
        ({"template": None}, "another chat template: t, and here it is none"),
        ({"dtype": "bfloat16"}, "another precision: float32, and here it is bfloat16"),
        ({"dtype": "int8"}, "another precision: float32, and here it is int8"),
    ],
)
def test_a_run_of_another_model_is_refused(
    tmp_path: Path, monitor: foretell.Monitor, job: dict[str, object], message: str
) -> None:
    run = with_job(tmp_path / "run", **job)
    with pytest.raises(InputError, match=message):
        monitor.apply(run)
    assert monitor.applied(run).height, "an evaluation of shift may score it"


def test_what_a_monitor_was_made_from_is_recorded(monitor: foretell.Monitor) -> None:
    made = monitor.made_from
    assert (made.model, made.weights, made.template, made.dtypes) == ("m", "v2:1", "t", ("float32",))
    assert (made.n_layers, made.n_heads) == (2, 2)
    assert len(made.training_groups) == len(made.calibration_groups) == 64
    assert made.n_training_groups + made.n_calibration_groups == 60


@pytest.mark.parametrize(
    ("dtype", "family"), [("float16", "half"), ("bfloat16", "half"), ("float64", "full"), ("q", "q")]
)
def test_precisions(dtype: str, family: str) -> None:
    assert precision(dtype) == family
