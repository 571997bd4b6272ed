"""A surface at a prompt and in a notebook: its question and answers, a small picture, and figures.

foretell.Surface.read("surface").plot("flat")
"""

from __future__ import annotations

from typing import Any

from foretell.display import Displayed, Facts, from_showing

__all__ = ["SurfaceView"]


class SurfaceView(Displayed):
    """What a surface shows of itself."""

    question: str
    concept: str
    scale: str
    model: str
    layers: tuple[int, ...]
    answers: tuple[Any, ...]

    def facts(self) -> Facts:
        """Return question, direction and answers."""
        span = f"{len(self.layers)} layers" + (f", {min(self.layers)} to {max(self.layers)}" if self.layers else "")
        known = [("concept", f"{self.concept} ({self.scale})"), ("model", self.model), ("layers", span)]
        answers = [(one.title, one.answer, len(one.tokens), one.mean_logprob) for one in self.answers]
        known.append(("answers", ", ".join(f"{title} ({n} tokens)" for title, _, n, _ in answers) or "none"))
        return Facts("Surface", self.question, known, ("title", "answer", "tokens", "mean log-probability"), answers)

    def _picture(self) -> bytes | None:
        picture: bytes | None = from_showing("notebook.plots").thumbnail_of_surface(self)
        return picture

    def plot(self, name: str = "surfaces", *, library: str = "matplotlib", z_limit: float | None = None) -> Any:
        """Draw the activity of all answers on one scale.

        Args:
            name: "surfaces"; "flat" (maps of layer and token); "tokens" (the answers as coloured text, in matplotlib
                only); or "course" (mean over layers by token, where it was measured).
            library: "matplotlib" or "plotly"; with plotly, surfaces can be turned.
            z_limit: Scores beyond it are clipped and counted; None is 2 on scale z, else the largest score.

        Returns:
            A figure of that library.

        Raises:
            InputError: There is no such figure, an answer has no token, or there is no such library.
        """
        return from_showing("notebook.plots").plot_surface(self, name, library=library, z_limit=z_limit)
