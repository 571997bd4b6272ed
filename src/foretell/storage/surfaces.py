"""The activity surface as plain data: one question, any number of answers, one scale.

surface.write("surfaces")
surface = Surface.read("surfaces")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.errors import InputError, located
from foretell.schema.tables import SURFACE, conform
from foretell.storage.atomic import written_whole
from foretell.storage.targets import check_file, held_folder
from foretell.storage.views.surface_view import SurfaceView

__all__ = [
    "AnswerActivity",
    "AnswerRank",
    "Course",
    "HeldOutComparison",
    "Surface",
    "SurfaceQuestion",
    "builtin_surface_question",
    "difference",
]

_FORMAT = "foretell surface 2"
_BEFORE = "foretell surface 1"
"""The same, but its table called the place in the answer `position`."""
_ENDS = ("lower", "upper", "null_lower", "null_upper")
_TABLE = "surface.parquet"
_DESCRIPTION = "surface.json"


@dataclass(frozen=True)
class AnswerActivity:
    """Activity along a direction while one answer is generated."""

    title: str
    """Short name, such as "false answer"."""
    answer: str
    tokens: tuple[str, ...]
    """Text of each generated token."""
    activity: Float[np.ndarray, "layer token"]
    """Calibrated score; nan where it is undefined."""
    mean_logprob: float | None
    """Mean log-probability (nats) of the answer's tokens."""
    lower: Float[np.ndarray, "layer token"] | None = None
    """Lower end of the 95 % interval, where the activity is a mean over answers."""
    upper: Float[np.ndarray, "layer token"] | None = None
    """Upper end."""
    null_lower: Float[np.ndarray, "layer token"] | None = None
    """5th percentile of random directions on the same tokens, each with its own calibration; None without them."""
    null_upper: Float[np.ndarray, "layer token"] | None = None
    """95th percentile."""


@dataclass(frozen=True)
class Course:
    """Activity along each answer, mean over some layers, with the band of random directions on the same tokens."""

    layers: tuple[int, ...]
    mean: tuple[tuple[float, ...], ...]
    """Per answer and token."""
    null_lower: tuple[tuple[float, ...], ...]
    """5th percentile of random directions, each one vector for all layers with its own calibration."""
    null_upper: tuple[tuple[float, ...], ...]
    """95th percentile."""
    n_random: int


@dataclass(frozen=True)
class AnswerRank:
    """Rank of one answer's mean activity among held-out answers with known labels."""

    title: str
    value: float
    """Mean activity over the layers and the answer's tokens."""
    above_positive: float
    """Share of held-out positive answers below it, ties one half."""
    above_negative: float
    """Share of held-out negative answers below it, ties one half."""


@dataclass(frozen=True)
class HeldOutComparison:
    """The answers of a surface compared with held-out answers on the same layers."""

    layers: tuple[int, ...]
    n_positive: int
    n_negative: int
    auc: float
    """Probability that a held-out positive answer scores above a held-out negative one."""
    baseline: str
    """Baseline with the best AUC on the same answers."""
    baseline_auc: float
    answers: tuple[AnswerRank, ...]


@dataclass(frozen=True, repr=False)
class Surface(SurfaceView):
    """Activity of several answers to one question along one direction."""

    question: str
    concept: str
    scale: str
    """"z" (standard deviations over calibration tokens), "raw" or "cosine"."""
    model: str
    layers: tuple[int, ...]
    answers: tuple[AnswerActivity, ...]
    course: Course | None = None
    held_out: HeldOutComparison | None = None

    def table(self) -> pl.DataFrame:
        """Return the surface in the columns of `foretell.schema.tables.SURFACE`."""
        frames = [
            pl.DataFrame(
                {
                    "id": f"answer-{index}",
                    "layer": np.repeat(self.layers, len(answer.tokens)),
                    "answer_position": np.tile(np.arange(len(answer.tokens)), len(self.layers)),
                    "concept": self.concept,
                    "activity": answer.activity.ravel().astype(np.float64),
                    **{
                        end: np.full(answer.activity.size, np.nan)
                        if values is None
                        else values.ravel().astype(np.float64)
                        for end, values in ((end, getattr(answer, end)) for end in _ENDS)
                    },
                }
            )
            for index, answer in enumerate(self.answers)
        ]
        numbers = pl.col("activity", *_ENDS)
        joined = pl.concat(frames).with_columns(pl.when(numbers.is_finite()).then(numbers))
        return conform(joined, SURFACE)

    def write(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write `surface.parquet` (the table) and `surface.json` (question, answers, tokens) into a folder.

        Each file is written atomically, the description last. It has the table's checksum, so that a description is
        never used with another surface's table. A number that is not finite is null in both.

        Raises:
            InputError: It could not be read back (a layer comes twice, or arrays have other shapes than layers and
                tokens), the folder has a surface already and `overwrite` is not set, or nothing can be written there.
        """
        if problem := _mismatch(self):
            raise InputError(f"the surface cannot be written: {problem}")
        folder = Path(folder)
        for name in (_TABLE, _DESCRIPTION):
            check_file(folder / name, overwrite=overwrite)
        buffer = BytesIO()
        self.table().write_parquet(buffer)
        described = {
            "format": _FORMAT,
            "question": self.question,
            "concept": self.concept,
            "scale": self.scale,
            "model": self.model,
            "layers": list(self.layers),
            "answers": [
                {
                    "title": answer.title,
                    "answer": answer.answer,
                    "tokens": list(answer.tokens),
                    "mean_logprob": answer.mean_logprob,
                    "dtype": answer.activity.dtype.name,
                }
                for answer in self.answers
            ],
            "course": None if self.course is None else asdict(self.course),
            "held_out": None if self.held_out is None else asdict(self.held_out),
            "table_sha256": sha256(buffer.getvalue()).hexdigest(),
        }
        plain = json.dumps(_plain(described), ensure_ascii=False, indent=1, allow_nan=False)
        with held_folder(folder, overwrite=True):
            with written_whole(folder / _TABLE) as draft:
                draft.write_bytes(buffer.getvalue())
            with written_whole(folder / _DESCRIPTION) as draft:
                draft.write_text(plain, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path | str) -> Surface:
        """Return the surface that `write` wrote into a folder.

        Raises:
            InputError: The folder has no surface, or its two files do not belong together.
        """
        description, table = Path(folder) / _DESCRIPTION, Path(folder) / _TABLE
        try:
            described = json.loads(description.read_text(encoding="utf-8"))
            content = table.read_bytes()
        except OSError as error:
            raise InputError(located(folder, f"has no surface: {error.strerror or error}")) from error
        except ValueError as error:
            raise InputError(located(description, f"is not JSON: {error}")) from error
        try:
            if described["format"] not in {_FORMAT, _BEFORE}:
                raise InputError(located(description, f'has the format {described["format"]!r}, not "{_FORMAT}"'))
            if sha256(content).hexdigest() != described["table_sha256"]:
                raise InputError(located(table, "is not the table its surface.json was written with"))
            rows = pl.read_parquet(BytesIO(content))
            surface = _surface(
                described, rows.rename({"position": "answer_position"}) if described["format"] == _BEFORE else rows
            )
            if problem := _mismatch(surface):
                raise ValueError(problem)
            return surface
        except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise InputError(located(description, f"is not a valid surface: {error!r}")) from error


@dataclass(frozen=True)
class SurfaceQuestion:
    """A question with answers to compare, each with a title."""

    question: str
    answers: tuple[str, ...]
    titles: tuple[str, ...]


def builtin_surface_question() -> SurfaceQuestion:
    """Return the built-in question with a false and a true answer.

    Example:
        >>> builtin_surface_question().titles
        ('false answer', 'true answer')
    """
    loaded = json.loads((files("foretell") / "data" / "surface.json").read_text(encoding="utf-8"))
    return SurfaceQuestion(
        loaded["question"],
        tuple(answer["text"] for answer in loaded["answers"]),
        tuple(answer["title"] for answer in loaded["answers"]),
    )


def _plain(value: Any) -> Any:
    """Return a value for JSON, which knows neither tuples nor numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _mismatch(surface: Surface) -> str | None:
    """Say what of a surface does not belong together; None if all does."""
    layers = surface.layers
    if len(set(layers)) != len(layers) or any(layer < 0 for layer in layers):
        return f"its layers must be distinct and 0 or more, not {layers}"
    for answer in surface.answers:
        shape = (len(layers), len(answer.tokens))
        for name in ("activity", *_ENDS):
            values = getattr(answer, name)
            if values is not None and values.shape != shape:
                return (
                    f'"{answer.title}" has {shape[0]} layers and {shape[1]} tokens, and {name} of shape {values.shape}'
                )
    course = surface.course
    if course is not None and not set(course.layers) <= set(layers):
        return f"its course is over layers {course.layers}, and it has {layers}"
    if course is not None and len(course.mean) != len(surface.answers):
        return f"its course is of {len(course.mean)} answers, and it has {len(surface.answers)}"
    return None


def _surface(described: dict[str, Any], table: pl.DataFrame) -> Surface:
    layers = tuple(int(layer) for layer in described["layers"])
    answers = []
    for index, answer in enumerate(described["answers"]):
        tokens = tuple(str(token) for token in answer["tokens"])
        rows = table.filter(pl.col("id") == f"answer-{index}").sort("layer", "answer_position")
        # Rows are sorted by layer; the surface may list its layers in another order.
        place = np.argsort(np.argsort(layers))
        if np.dtype(answer["dtype"]).kind != "f":
            raise ValueError(f"activity cannot be of type {answer['dtype']}")
        activity = rows["activity"].to_numpy().reshape(len(layers), len(tokens))[place].astype(answer["dtype"])
        logprob = answer["mean_logprob"]
        answers.append(
            AnswerActivity(
                title=str(answer["title"]),
                answer=str(answer["answer"]),
                tokens=tokens,
                activity=activity,
                mean_logprob=None if logprob is None else float(logprob),
                **_ends(rows, place, len(tokens)),
            )
        )
    text = {name: str(described[name]) for name in ("question", "concept", "scale", "model")}
    course, held_out = described.get("course"), described.get("held_out")
    return Surface(
        layers=layers,
        answers=tuple(answers),
        course=None if course is None else _course(course),
        held_out=None if held_out is None else _held_out_comparison(held_out),
        **text,
    )


def _ends(rows: pl.DataFrame, place: np.ndarray, n_tokens: int) -> dict[str, np.ndarray | None]:
    """Return the interval of a mean surface and the band of random directions, where the table has them."""
    found: dict[str, np.ndarray | None] = {}
    for end in _ENDS:
        values = rows[end].cast(pl.Float64).fill_null(np.nan).to_numpy() if end in rows.columns else np.array([np.nan])
        found[end] = values.reshape(len(place), n_tokens)[place] if np.isfinite(values).any() else None
    return found


def _course(described: dict[str, Any]) -> Course:
    lines = {
        name: tuple(tuple(_number(value) for value in line) for line in described[name])
        for name in ("mean", "null_lower", "null_upper")
    }
    return Course(layers=tuple(int(n) for n in described["layers"]), n_random=int(described["n_random"]), **lines)


def _held_out_comparison(described: dict[str, Any]) -> HeldOutComparison:
    answers = tuple(
        AnswerRank(
            title=str(answer["title"]),
            **{name: _number(answer[name]) for name in ("value", "above_positive", "above_negative")},
        )
        for answer in described["answers"]
    )
    return HeldOutComparison(
        tuple(int(layer) for layer in described["layers"]),
        int(described["n_positive"]),
        int(described["n_negative"]),
        _number(described["auc"]),
        str(described["baseline"]),
        _number(described["baseline_auc"]),
        answers,
    )


def difference(surface: Surface, first: int = 0, second: int = 1) -> Surface:
    """Return the activity of one answer minus that of another, token position by token position.

    On a common prefix of both answers the difference is zero, because later tokens do not affect earlier ones. The
    result is as long as the shorter answer.

    Args:
        surface: A surface of two answers or more.
        first: Index of the minuend.
        second: Index of the subtrahend.

    Raises:
        InputError: There is no answer with that index.

    Undefined:
        nan where either activity is.
    """
    if not (0 <= first < len(surface.answers) and 0 <= second < len(surface.answers)):
        raise InputError(f"the surface has {len(surface.answers)} answers; {first} and {second} were requested")
    one, other = surface.answers[first], surface.answers[second]
    n_tokens = min(len(one.tokens), len(other.tokens))
    pairs = zip(one.tokens[:n_tokens], other.tokens[:n_tokens], strict=True)
    tokens = tuple(a if a == b else f"{a} | {b}" for a, b in pairs)
    subtracted = AnswerActivity(
        title=f"{one.title} − {other.title}",
        answer=f"{one.answer}\n− {other.answer}",
        tokens=tokens,
        activity=one.activity[:, :n_tokens] - other.activity[:, :n_tokens],
        mean_logprob=None,
    )
    return Surface(surface.question, surface.concept, surface.scale, surface.model, surface.layers, (subtracted,))
