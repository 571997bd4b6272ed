"""The activity surface as plain data: one question, any number of answers, one scale.

It knows neither how activity was read nor how it will be drawn.

    surface.write("surfaces")
    surface = Surface.read("surfaces")
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.atomic import written_whole
from foretell.errors import InputError, located
from foretell.schema import ACTIVITY, conform

__all__ = ["AnswerActivity", "Surface", "SurfaceQuestion", "builtin_surface_question"]

_FORMAT = "foretell surface 1"
_TABLE = "surface.parquet"
_DESCRIPTION = "surface.json"


@dataclass(frozen=True)
class AnswerActivity:
    """How far the hidden states lean along a direction while one answer is written."""

    title: str
    """Short name, such as "false answer"."""
    answer: str
    tokens: tuple[str, ...]
    """Text of each generated token."""
    activity: Float[np.ndarray, "layer token"]
    """Calibrated score; nan where a layer has none."""
    mean_logprob: float | None
    """Mean log-probability (nats) of the answer's tokens."""


@dataclass(frozen=True)
class Surface:
    """Activity of several answers to one question along one direction."""

    question: str
    concept: str
    scale: str
    """"z" (standard deviations over calibration tokens), "raw" or "cosine"."""
    model: str
    layers: tuple[int, ...]
    answers: tuple[AnswerActivity, ...]

    def table(self) -> pl.DataFrame:
        """Return the numbers behind the picture in the columns of the activity table."""
        frames = [
            pl.DataFrame(
                {
                    "id": f"answer-{index}",
                    "layer": np.repeat(self.layers, len(answer.tokens)),
                    "position": np.tile(np.arange(len(answer.tokens)), len(self.layers)),
                    "concept": self.concept,
                    "activity": answer.activity.ravel().astype(np.float64),
                }
            )
            for index, answer in enumerate(self.answers)
        ]
        joined = pl.concat(frames).with_columns(pl.col("activity").fill_nan(None))
        return conform(joined, ACTIVITY)

    def write(self, folder: Path | str) -> None:
        """Write `surface.parquet` (the table) and `surface.json` (question, answers, tokens) into a folder.

        Each file appears whole or not at all, the description last; it knows the table's checksum, so a description
        never goes with another surface's table.
        """
        folder = Path(folder)
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
            "table_sha256": sha256(buffer.getvalue()).hexdigest(),
        }
        with written_whole(folder / _TABLE) as draft:
            draft.write_bytes(buffer.getvalue())
        with written_whole(folder / _DESCRIPTION) as draft:
            draft.write_text(json.dumps(described, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path | str) -> Surface:
        """Return the surface that `write` left in a folder, number for number.

        Raises:
            InputError: The folder holds no surface, or its two files do not belong together.
        """
        description, table = Path(folder) / _DESCRIPTION, Path(folder) / _TABLE
        try:
            described = json.loads(description.read_text(encoding="utf-8"))
            content = table.read_bytes()
        except OSError as error:
            raise InputError(located(folder, f"holds no surface: {error.strerror or error}")) from error
        except ValueError as error:
            raise InputError(located(description, f"is not JSON: {error}")) from error
        try:
            if described["format"] != _FORMAT:
                raise InputError(located(description, f'is of the form {described["format"]!r}, not "{_FORMAT}"'))
            if sha256(content).hexdigest() != described["table_sha256"]:
                raise InputError(located(table, "is not the table its surface.json was written with"))
            return _surface(described, pl.read_parquet(BytesIO(content)))
        except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise InputError(located(description, f"describes no surface: {error!r}")) from error


@dataclass(frozen=True)
class SurfaceQuestion:
    """A question with answers to lay side by side, each with its title."""

    question: str
    answers: tuple[str, ...]
    titles: tuple[str, ...]


def builtin_surface_question() -> SurfaceQuestion:
    """Return the question whose false and true answer the first surfaces were drawn for.

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


def _surface(described: dict[str, Any], table: pl.DataFrame) -> Surface:
    layers = tuple(int(layer) for layer in described["layers"])
    answers = []
    for index, answer in enumerate(described["answers"]):
        tokens = tuple(str(token) for token in answer["tokens"])
        rows = table.filter(pl.col("id") == f"answer-{index}").sort("layer", "position")
        # Rows come sorted by layer; the surface may list its layers in another order.
        place = np.argsort(np.argsort(layers))
        activity = rows["activity"].to_numpy().reshape(len(layers), len(tokens))[place].astype(answer["dtype"])
        logprob = answer["mean_logprob"]
        answers.append(
            AnswerActivity(
                title=str(answer["title"]),
                answer=str(answer["answer"]),
                tokens=tokens,
                activity=activity,
                mean_logprob=None if logprob is None else float(logprob),
            )
        )
    text = {name: str(described[name]) for name in ("question", "concept", "scale", "model")}
    return Surface(layers=layers, answers=tuple(answers), **text)
