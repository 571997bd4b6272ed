"""Random directions: unit vectors drawn uniformly from the sphere, and their scale on calibration tokens.

A fitted direction's activity is in standard deviations over its calibration tokens. For a fair comparison a random
direction has its own scale from the same tokens. Only that scale is stored: the vectors are drawn again from their
seed, by arithmetic that is the same in every version of the libraries.

    random = random_scale(tokens, n_draws=100, seed=0)
    random.activity(hidden)  # (draw, layer, token)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from foretell.directions.activations.state_rounding import FLOAT32, rounding_unit

__all__ = ["N_DRAWS", "RandomScale", "random_scale", "random_vectors"]

N_DRAWS = 100
"""Random directions that are calibrated with a fitted direction."""


@dataclass(frozen=True)
class RandomScale:
    """Projections of the calibration tokens on random directions; each draw is one vector, used at every layer."""

    seed: int
    mean: Float[np.ndarray, "draw layer"]
    """float64, of the projections of the calibration tokens."""
    standard_deviation: Float[np.ndarray, "draw layer"]
    """float64; 0 where the projections are constant."""

    @property
    def n_draws(self) -> int:
        """Random directions."""
        return len(self.mean)

    def first(self, n_draws: int) -> RandomScale:
        """Return the first `n_draws` random directions, or all if there are fewer."""
        return RandomScale(self.seed, self.mean[:n_draws], self.standard_deviation[:n_draws])

    def vectors(self, width: int) -> Float[np.ndarray, "draw width"]:
        """Return the unit vectors, drawn again."""
        return random_vectors(self.n_draws, width, seed=self.seed)

    def activity(
        self, hidden: Float[np.ndarray, "layer token width"], *, n_draws: int | None = None
    ) -> Float[np.ndarray, "draw layer token"]:
        """Return the activity of the first `n_draws` random directions.

        Undefined:
            nan in layers whose calibration tokens all have the same projection.
        """
        chosen = self if n_draws is None else self.first(n_draws)
        drawn = chosen.vectors(hidden.shape[-1])
        projection = np.stack([drawn @ layer.T.astype(np.float64) for layer in hidden], axis=1)
        deviation = chosen.standard_deviation[..., None]
        centred = projection - chosen.mean[..., None]
        return np.asarray(np.divide(centred, deviation, out=np.full(centred.shape, np.nan), where=deviation > 0.0))


def random_vectors(n_draws: int, width: int, *, seed: int) -> Float[np.ndarray, "draw width"]:
    """Return unit vectors drawn uniformly from the sphere; a longer list begins with the shorter one.

    Example:
        >>> bool(np.allclose(random_vectors(3, 8, seed=1)[:2], random_vectors(2, 8, seed=1)))
        True
    """
    # numpy keeps the raw numbers of a bit generator the same in all versions, but not those of its distributions.
    raw = np.atleast_1d(np.asarray(np.random.PCG64(seed).random_raw(n_draws * width)))
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    vectors = ndtri(uniform).reshape(n_draws, width)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def random_scale(
    tokens: Float[np.ndarray, "token layer width"],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    rounding: float = FLOAT32,
) -> RandomScale:
    """Return mean and standard deviation of random directions' projections of calibration tokens.

    Args:
        tokens: Hidden states of the calibration tokens.
        n_draws: Random directions.
        seed: Draws.
        rounding: Of the hidden states, see `foretell.directions.activations.state_rounding`.
    """
    drawn = random_vectors(n_draws, tokens.shape[2], seed=seed)
    mean, deviation = np.empty((n_draws, tokens.shape[1])), np.empty((n_draws, tokens.shape[1]))
    for layer in range(tokens.shape[1]):
        hidden = tokens[:, layer].astype(np.float64)
        projection = hidden @ drawn.T
        mean[:, layer], deviation[:, layer] = projection.mean(axis=0), projection.std(axis=0)
        # Rounding gives a small spread where all tokens are equal.
        unit = rounding_unit(np.square(hidden).mean(axis=0), rounding)
        if not (hidden.std(axis=0) > unit).any():
            deviation[:, layer] = 0.0
    return RandomScale(seed, mean, deviation)
