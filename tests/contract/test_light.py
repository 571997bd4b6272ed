"""`import foretell` and `foretell --help` cost next to nothing, and the base install needs no torch."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sklearn", "scipy", "numpy", "polars", "matplotlib", "plotly", "rich", "numba")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["foretell", "foretell.cli.main"])
def test_import_brings_no_heavy_library(module: str) -> None:
    loaded = python(f"import {module}, sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))")
    assert not set(HEAVY) & set(loaded.split())


def test_import_loads_nothing_but_itself() -> None:
    """Counted in modules: a time would depend on the machine."""
    needed = "import __future__, importlib, typing, sys; before = set(sys.modules)"
    assert python(f"{needed}; import foretell; print(*set(sys.modules) - before)").split() == ["foretell"]


def test_every_public_name_is_reachable_and_listed() -> None:
    assert python("import foretell; [getattr(foretell, n) for n in foretell.__all__]; print(len(foretell.__all__))")
    assert "study" in python("import foretell; print(dir(foretell))")


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = "import foretell\ntry: foretell.nothing\nexcept AttributeError as error: print(error)"
    assert "no attribute 'nothing'" in python(code)


def test_reading_without_torch_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None; import foretell\n"
        "try: foretell.load_model\nexcept foretell.errors.MissingExtraError as error: print(error)"
    )
    assert "pip install 'foretell[models]'" in python(code)


@pytest.mark.parametrize("packages", [("torch",), ("transformers",), ("torch", "transformers", "safetensors", "gguf")])
def test_every_public_name_works_without_the_optional_part_or_says_what_to_install(packages: tuple[str, ...]) -> None:
    code = (
        "import sys; from importlib.abc import MetaPathFinder\n"
        "class Missing(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {packages}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing()); import foretell\n"
        "for name in foretell.__all__:\n"
        "    try: getattr(foretell, name)\n"
        "    except foretell.errors.MissingExtraError as error: print(name, error, sep=': ')\n"
    )
    said = dict(line.split(": ", 1) for line in python(code).splitlines())
    assert {"fit_direction", "listen", "load_model", "read", "steer", "surface"} <= set(said)
    assert not {"Study", "study", "report", "label", "open_run", "read_conversations", "Surface", "Run"} & set(said)
    for name, message in said.items():
        assert message == f"foretell.{name} needs an optional part: pip install 'foretell[models]'"
