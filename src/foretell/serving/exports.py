"""A finished request as files: tables of its tokens, pictures of its surfaces, and a page of its own.

name, media_type, content = exported(result, "tokens.csv")
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from foretell.schema.tables import SEGMENTS
from foretell.serving.all_answers import Result
from foretell.serving.live_rows import LiveToken
from foretell.serving.request_bounds import RefusedError
from foretell.storage.surfaces import AnswerActivity, Surface

__all__ = ["FILES", "exported", "surface_of"]


def exported(result: Result, name: str) -> tuple[str, bytes]:
    """Return the media type and the content of one file.

    Args:
        result: What was read.
        name: One of `FILES`.

    Raises:
        RefusedError: There is no such file, or what it shows was not read.
    """
    if name not in FILES:
        raise RefusedError(404, f"there is no such file: use {', '.join(FILES)}")
    if not any(answer.tokens for _, answer in result.answers):
        raise RefusedError(409, "nothing was read, so there is nothing to export")
    media_type, make = FILES[name]
    return media_type, make(result)


def surface_of(result: Result) -> Surface:
    """Return the activity of the answers as a surface.

    Raises:
        RefusedError: No activity was read.
    """
    if result.concept is None:
        raise RefusedError(409, "no direction was chosen, so there is no activity to draw")
    answers = tuple(
        AnswerActivity(
            title=title,
            answer=answer.text,
            tokens=tuple(token.text for token in answer.tokens),
            activity=np.stack([_activity(token) for token in answer.tokens], axis=1),
            mean_logprob=_mean([token.logprob for token in answer.tokens]),
        )
        for title, answer in result.answers
        if answer.tokens
    )
    question = result.question.messages[-1].content
    return Surface(question, result.concept, "z", result.model, tuple(range(result.n_layers)), answers)


def _activity(token: LiveToken) -> np.ndarray:
    if token.activity is None:
        raise RefusedError(409, "no activity was read")
    return token.activity


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _tokens_csv(result: Result) -> bytes:
    """One row per token: log-probability, score of the monitor, masses averaged over layers and heads."""
    rows = []
    for title, answer in result.answers:
        scores = {one.n_generated: one for one in answer.scores}
        for token in answer.tokens:
            score = scores.get(token.answer_position + 1)
            row = {"answer": title, "answer_position": token.answer_position, "token": token.text}
            row |= {"logprob": token.logprob, "score": None if score is None else score.score}
            row |= {"probability": None if score is None else score.probability}
            row |= {"alarm": None if score is None else score.alarm}
            known = ~np.isnan(token.mass).all(axis=1)
            mass = token.mass[known].mean(axis=0) if known.any() else np.full(len(SEGMENTS), np.nan)
            rows.append(row | {f"mass_{name}": float(value) for name, value in zip(SEGMENTS, mass, strict=True)})
    return _csv(pl.DataFrame(rows, infer_schema_length=None))


def _layers_csv(result: Result) -> bytes:
    """One row per token and layer: activity, and masses averaged over heads."""
    rows = []
    for title, answer in result.answers:
        place_of = {layer: place for place, layer in enumerate(answer.attention_layers)}
        for token in answer.tokens:
            for layer in range(result.n_layers):
                row = {"answer": title, "answer_position": token.answer_position, "token": token.text, "layer": layer}
                row |= {"activity": None if token.activity is None else float(token.activity[layer])}
                mass = token.mass[place_of[layer]] if layer in place_of else [None] * len(SEGMENTS)
                rows.append(row | {f"mass_{name}": value for name, value in zip(SEGMENTS, mass, strict=True)})
    return _csv(pl.DataFrame(rows, infer_schema_length=None))


def _csv(frame: pl.DataFrame) -> bytes:
    """Return a frame as CSV; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    guarded = [
        pl.when(pl.col(name).str.contains(r"^[=+\-@\t\r]")).then("'" + pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name in texts
    ]
    written = frame.with_columns(*guarded).fill_nan(None).write_csv()
    return written.encode("utf-8", "replace")


def _picture(kind: str) -> Callable[[Result], bytes]:
    def picture(result: Result) -> bytes:
        from foretell.showing.draw_matplotlib.to_matplotlib import draw, render
        from foretell.showing.figures.surfaces.surface_figures import surface_figures

        figure = surface_figures(surface_of(result))[0]
        return render(draw(figure), "png" if kind == "png" else "svg")

    return picture


def _report(result: Result) -> bytes:
    from foretell.showing.report import save_surface

    with tempfile.TemporaryDirectory(prefix="foretell-export-") as folder:
        page = save_surface(surface_of(result), Path(folder) / "report", progress=False)
        return page.read_bytes()


FILES: dict[str, tuple[str, Callable[[Result], bytes]]] = {
    "tokens.csv": ("text/csv; charset=utf-8", _tokens_csv),
    "layers.csv": ("text/csv; charset=utf-8", _layers_csv),
    "surfaces.png": ("image/png", _picture("png")),
    "surfaces.svg": ("image/svg+xml", _picture("svg")),
    "report.html": ("text/html; charset=utf-8", _report),
}
"""What a finished request can be saved as: media type and what makes it."""
