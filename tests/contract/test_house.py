"""The rules of this repository that no linter knows: sizes, the tree of folders, names."""

import ast
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "foretell"
TESTS = ROOT / "tests"
MODULES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in MODULES]
FOLDERS = sorted({path.parent for path in MODULES})
TEST_MODULES = sorted(TESTS.rglob("test_*.py"))

GIVEN_SIGNATURES = {"_kernel_call"}
"""Functions that take a library function's arguments as its callers give them."""

WITHOUT_SOURCE_FOLDER = {"benchmarks", "contract", "e2e"}
"""Test folders without a package: benchmarks, the repository itself, and the command line as a user runs it."""

WITHOUT_SOURCE_MODULE = {
    "cli/test_environment.py": "the command line in environments that lack something",
    "cli/test_held_folders.py": "every verb that writes where somebody else does",
    "directions/test_planted.py": "the whole way from hidden states with a planted direction to its evidence",
    "labels/test_verifiers_real.py": "all verifiers on one data set of real answers",
    "reading/capture/test_answer_ends.py": "captures of generations, by how the answer ends",
    "reading/capture/test_columns.py": "captures, by what the forward pass is given",
    "reading/capture/test_generating.py": "captures of generation against captures of the finished text",
    "reading/capture/test_hidden.py": "captures of hidden states, however a text is fed",
    "reading/capture/test_isolation.py": "captures beside other threads, models and hooks",
    "reading/capture/test_ways_agree.py": "captures of one text that is fed in several ways",
    "reading/chat/test_tokenizer_kinds.py": "segments with every kind of tokenizer",
    "reading/models/test_dispatched.py": "models spread over devices",
    "reading/models/test_every_architecture.py": "every architecture of the installed library",
    "reading/models/test_gemma3.py": "one large model, only when it is asked for",
    "reading/signals/test_previous_token.py": "weights on the token before, in captures",
    "reading/runs/test_answer_tokens.py": "runs that are read again from their own answers",
    "reading/runs/test_hidden_states.py": "hidden states of runs, from reading to resuming",
    "reading/runs/test_kills.py": "reading that is killed at random moments",
    "reading/runs/test_workers.py": "runs that several processes read",
    "serving/test_live_page.py": "the live page in a browser",
    "showing/test_hostile_texts.py": "300 texts that try to act, in every kind of figure and on a terminal",
    "showing/page/test_accessible.py": "the page, checked for screen readers",
    "showing/page/test_hover.py": "every kind of figure, pointed at in a browser",
    "showing/page/test_using.py": "tables, lists, wheel, keys and print of the page in a browser",
    "showing/test_big_report.py": "size and time of a report of many samples and heads",
    "showing/test_drawing.py": "both drawing libraries draw every figure",
    "storage/location/test_object_store.py": "runs in an object store",
    "storage/test_kills.py": "runs that are killed at random moments",
    "storage/test_two_writers.py": "two writers on one run, again and again",
    "stats/table/test_hostile_tables.py": "whole studies of broken tables",
    "stats/test_coverage.py": "coverage of intervals and false positives of tests in simulations",
    "stats/test_error_rates.py": "verdicts of whole studies in simulations",
}
"""Test modules that cover no single module, and what they cover."""

WORDS = {
    r"ears?|hear|hears|heard|hearing": "capture, record",
    r"rooms?": "memory limit, buffer, space",
    r"borrow(ed)?|shelf|shelves|boards?": "buffer, acquire, release",
    r"tall(y|ies)|gathered": "running sums, results",
    r"settled?|waiting_steps": "deferred decode steps, flush",
    r"weighed": "segment mass",
    r"strips?": "chunk, block",
    r"coordinates?": "log-ratios",
    r"multiplicity": "max-statistic",
    r"(ir)?regular": "sorted Parquet",
    r"array_(table|dataset)|paired_auc": "dense, fold AUC",
    r"house|wings?|hallway": "package, layer",
    r"told|tells?": "say what it does: message, printed, predicts",
    r"stands?|stood|standing": "is, comparison",
    r"luck|rivals?|strangers?|dealt|learnt|beaten": "chance, baseline, permuted, fitted, exceeded",
}
"""Words that no name may contain, as regular expressions over its parts, and what to write in their place."""

WORDS_ALLOWED = {
    "test_spans_follow_a_template_that_strips": "the method `str.strip`",
    "told_by": "the table of when a signal predicts a label",
    "TOLD_BY": "its columns",
    "test_told_by": "its tests",
    "what_tells": "the script that others know by this name",
}
"""Names with such a word that mean something else by it."""


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines of a body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Names of functions, classes, parameters, variables and attributes that are set."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def replacement(name: str) -> str | None:
    """Words to write instead of one in `name` that is not the field's, or None where there is none."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    found = (better for word, better in WORDS.items() if re.search(rf"(^|_)({word})(_|$)", snake))
    return None if name in WORDS_ALLOWED else next(found, None)


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_modules_functions_and_classes_are_short(path: Path) -> None:
    assert lines(path) <= 400, "split this module by idea"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in functions(tree):
        assert lines_of_code(function) < 60, f"{function.name} is too long"
        positional = [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in {"self", "cls"}]
        # click passes a verb its options by name, and numba compiles calls without names only
        given = (
            path.name == "compiled.py"
            or function.name in GIVEN_SIGNATURES
            or any("command" in ast.unparse(decorator) for decorator in function.decorator_list)
        )
        assert given or len(positional) <= 5, f"{function.name} takes too many positional arguments"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            assert (node.end_lineno or 0) - node.lineno < 200, f"{node.name} is too large"


def test_the_median_module_is_short() -> None:
    assert statistics.median(lines(path) for path in MODULES if path.name != "__init__.py") <= 160


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_package_has_at_most_14_modules(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 14


def test_no_two_modules_have_the_same_name() -> None:
    counts = Counter(path.stem for path in MODULES if path.name != "__init__.py")
    assert [stem for stem, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_modules_are_named_by_their_idea_and_describe_it(path: Path) -> None:
    assert not re.search(r"util|helper|common|manager|misc", path.stem)
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), "the module has no docstring"


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != SOURCE], ids=lambda folder: folder.name)
def test_a_package_is_described_in_one_line_and_has_no_code(folder: Path) -> None:
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert len(tree.body) == 1
    described = ast.get_docstring(tree)
    assert described is not None
    assert "\n" not in described


def test_test_folders_mirror_packages() -> None:
    folders = {str(path.parent.relative_to(TESTS)) for path in TEST_MODULES}
    packages = {str(folder.relative_to(SOURCE)) for folder in FOLDERS}
    assert folders - packages == WITHOUT_SOURCE_FOLDER


def test_test_modules_are_named_after_what_they_test() -> None:
    sources = {path.relative_to(SOURCE).with_name(f"test_{path.name}").as_posix() for path in MODULES}
    tested = {path.relative_to(TESTS).as_posix() for path in TEST_MODULES}
    tested = {name for name in tested if name.split("/")[0] not in WITHOUT_SOURCE_FOLDER}
    assert tested - sources == set(WITHOUT_SOURCE_MODULE)


def test_the_page_on_packages_lists_every_package_and_module() -> None:
    page = (ROOT / "docs" / "design" / "house.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w/]+)` \| (.*) \|$", page, re.MULTILINE))
    names = {"foretell" if folder == SOURCE else folder.relative_to(SOURCE).as_posix(): folder for folder in FOLDERS}
    assert set(rows) == set(names)
    for package, folder in names.items():
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        assert modules <= set(re.findall(r"`(\w+)`", rows[package])), package


def test_nothing_is_compiled_from_c() -> None:
    compiled = {".c", ".cc", ".cpp", ".cu", ".h", ".pyx", ".so"}
    assert [path for path in SOURCE.rglob("*") if path.suffix in compiled] == []


def test_names_are_words_of_the_field() -> None:
    folders = (SOURCE, TESTS, ROOT / "benchmarks", ROOT / "scripts")
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for name in (path.stem, *defined_names(ast.parse(path.read_text(encoding="utf-8")))):
            better = replacement(name)
            if better is not None and path != Path(__file__):
                found[f"{path.relative_to(ROOT)}: {name}"] = better
    assert found == {}


@pytest.mark.parametrize("name", ["heard", "OnReturnedRoom", "_room_for", "test_wrong_calls_are_told", "Strips"])
def test_a_word_is_found_in_every_style_of_name(name: str) -> None:
    assert replacement(name) is not None


@pytest.mark.parametrize("name", ["year", "weather", "bedroom", "dashboard", "understand", "regularised", "heartbeat"])
def test_a_word_inside_another_is_not_found(name: str) -> None:
    assert replacement(name) is None


def test_public_functions_are_not_collected_as_tests() -> None:
    for path in MODULES:
        for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
            assert not function.name.startswith("test_"), f"{path.name}: {function.name}"


def test_no_pickle_and_no_print() -> None:
    for path in MODULES:
        imported = [
            name.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import)
            for name in node.names
        ]
        assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(imported), path.name
