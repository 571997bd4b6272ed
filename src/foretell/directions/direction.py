"""A direction: one unit vector per layer for a concept, with its calibration and where it came from.

How directions are saved and used; `foretell.directions.fit` finds them.

    direction.save("lying.safetensors")
    direction = Direction.load("lying.safetensors")
    direction.check_fits(model)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from foretell.directions.random_directions import RandomScale
from foretell.display import Displayed, Facts
from foretell.errors import InputError, TemplateWarning, located
from foretell.storage.atomic import written_whole
from foretell.storage.targets import check_file

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

__all__ = ["Direction", "DirectionSource"]

_FORMAT = "foretell direction 1"
_ARRAYS = ("vectors", "mean", "standard_deviation")
_RANDOM = ("random_mean", "random_standard_deviation")
_NORM_TOLERANCE = 1e-4
_LEAST = {"n_pairs": 1, "n_calibration_pairs": 0, "n_calibration_tokens": 0, "seed": 0}


@dataclass(frozen=True)
class DirectionSource:
    """How a direction was fitted: enough to fit it again and to refuse it on another model."""

    method: str
    """Method, such as "mean-difference"."""
    tokens: str
    """Hidden states that represented an answer: "last", "mean" or "every"."""
    model: str
    """Name of the model it was fitted on."""
    fingerprint: str
    """Its weights, see `foretell.reading.models.fingerprints`."""
    n_pairs: int
    """Contrast pairs it was fitted on."""
    topics: tuple[str, ...]
    """Their topics."""
    n_calibration_pairs: int
    """Pairs of which the answer tokens were used for mean and standard deviation."""
    n_calibration_tokens: int
    """Those tokens, of both answers."""
    seed: int
    version: str
    """Version of foretell."""
    template: str | None = None
    """Its chat template and special tokens, see `foretell.reading.chat.chat_template`; None: it was not recorded."""


@dataclass(frozen=True, repr=False)
class Direction(Displayed):
    """Unit vectors, one per layer, along which hidden states shift when a concept is present.

    The activity of a hidden state is `(hidden . vector - mean) / standard_deviation` of its layer: standard
    deviations above the average token of the calibration pairs. Higher means more of the concept.

    Undefined:
        A layer without a vector or without spread is `nan` in all arrays it lacks, and `reasons` says why.
    """

    concept: str
    vectors: Float[np.ndarray, "layer width"]
    """float32, unit norm."""
    mean: Float[np.ndarray, " layer"]
    """float64, of the projections of the calibration tokens."""
    standard_deviation: Float[np.ndarray, " layer"]
    """float64, of the projections of the calibration tokens, positive."""
    reasons: tuple[str | None, ...]
    """Why a layer has no activity; None where it has one."""
    source: DirectionSource
    random: RandomScale | None = None
    """Scale of random directions on the same calibration tokens; None: not measured."""

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return int(self.vectors.shape[0])

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.vectors.shape[1])

    def activity(self, hidden: Float[np.ndarray, "*row layer width"]) -> Float[np.ndarray, "*row layer"]:
        """Return the calibrated score of each hidden state, float64.

        Args:
            hidden: `(..., layer, width)` outputs of the decoder blocks.

        Undefined:
            `nan` in layers that have a reason.
        """
        projection = np.einsum("...lw,lw->...l", hidden, self.vectors, dtype=np.float64)
        return np.asarray((projection - self.mean) / self.standard_deviation)

    def facts(self) -> Facts:
        """Return what it is of and how it was fitted."""
        source, undefined = self.source, [layer for layer, reason in enumerate(self.reasons) if reason is not None]
        scale = f"{source.n_calibration_tokens:,} tokens of {source.n_calibration_pairs:,} pairs"
        known = [
            ("model", f"{source.model} ({self.n_layers} layers of width {self.width}, weights {source.fingerprint})"),
            ("fitted", f"{source.method} on {source.n_pairs:,} pairs of {len(source.topics)} topics ({source.tokens})"),
            ("scale", scale + (f"; {self.random.n_draws} random directions" if self.random else "")),
        ]
        if undefined:
            known.append(("undefined", f"layers {', '.join(map(str, undefined))}: {self.reasons[undefined[0]]}"))
        return Facts("Direction", self.concept, known)

    def plot(self, name: str = "spread", *, library: str = "matplotlib") -> Any:
        """Draw what the direction itself says by layer; how well it separates is in `foretell.judge_directions`.

        Args:
            name: "spread" (of hidden states along it, beside random directions) or "turning" (how alike it is between
                layers).
            library: "matplotlib" or "plotly".

        Returns:
            A figure of that library.

        Raises:
            InputError: There is no such figure or library.
        """
        from foretell.showing.notebook.object_figures import spread_figure, turning_figure
        from foretell.showing.notebook.plots import plot_named

        random, model = None if self.random is None else self.random.standard_deviation, self.source.model
        figures = {
            "spread": lambda: spread_figure(self.concept, self.standard_deviation, random, model=model),
            "turning": lambda: turning_figure(self.concept, self.vectors, model=model),
        }
        return plot_named(figures, name, "a direction", library=library)

    def check_fits(self, model: Model) -> None:
        """Refuse a model whose weights are not the ones this direction was fitted on; warn of another chat template.

        With other weights a direction has no meaning, so they are refused. With another chat template the vectors keep
        their meaning, but mean and standard deviation were computed with the first template, so the zero and the unit
        of the activity may differ: hence a warning. A direction saved without its template gives no warning.

        Raises:
            InputError: Another number of layers, another width, or other weights.

        Warns:
            TemplateWarning: Another chat template, or other special tokens.
        """
        # Imported here, so that a file that holds no direction is refused before torch is loaded.
        from foretell.reading.chat.chat_template import template_fingerprint
        from foretell.reading.models.fingerprints import weights_differ

        if (model.n_layers, model.width) != (self.n_layers, self.width):
            raise InputError(
                f'the direction "{self.concept}" was fitted on {self.source.model} with {self.n_layers} layers of '
                f"width {self.width}; {model.name} has {model.n_layers} layers of width {model.width}: "
                "fit a direction on this model"
            )
        reason = weights_differ(model.model, self.source.fingerprint)
        if reason is not None:
            raise InputError(
                f'the direction "{self.concept}" was fitted on {self.source.model}; the weights of {model.name} '
                f"{reason}: fit a direction on this model"
            )
        template = template_fingerprint(model.tokenizer)
        if self.source.template not in {None, template}:
            message = (
                f'the direction "{self.concept}" was fitted with another chat template ({self.source.template}; this '
                f"one is {template}): zero and unit of its activity may differ; fit it with this template to be sure"
            )
            warnings.warn(message, TemplateWarning, stacklevel=3)

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the direction as safetensors with JSON metadata and a checksum, atomically.

        Raises:
            InputError: It is none that could be loaded: a layer without a reason has no unit vector or no scale, or
                what is said of its source cannot be; or the file exists and `overwrite` is not set, or nothing can be
                written there.
        """
        check_file(path, overwrite=overwrite)
        described: dict[str, Any] = {"concept": self.concept, "reasons": self.reasons, "source": asdict(self.source)}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        if self.random is not None:
            described["random_seed"] = self.random.seed
            scale = (self.random.mean, self.random.standard_deviation)
            arrays |= {name: np.ascontiguousarray(values) for name, values in zip(_RANDOM, scale, strict=True)}
        text = json.dumps(described, ensure_ascii=False)
        try:
            _built(arrays, json.loads(text))
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(located(path, f"the direction cannot be saved: {error}")) from error
        metadata = {"format": _FORMAT, "foretell": text, "sha256": _checksum(arrays, described)}
        with written_whole(Path(path)) as draft:
            save_file(arrays, draft, metadata=metadata)

    @classmethod
    def load(cls, path: Path | str) -> Direction:
        """Return the direction that `save` wrote, bit for bit. Nothing in the file is ever executed.

        Raises:
            InputError: There is no such file, it holds no direction, or it is not as it was saved.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(located(path, "there is no such direction file"))
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise InputError(located(path, f'is safetensors, but no "{_FORMAT}"'))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            described = json.loads(metadata["foretell"])
            direction = _built(arrays, described)
            # Files of older versions have no checksum.
            if metadata.get("sha256", checksum := _checksum(arrays, described)) != checksum:
                raise ValueError("its checksum is another, so it was changed after it was saved; fit it again")
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise InputError(located(path, f"holds no direction: {error}")) from error
        return direction


def _checksum(arrays: Mapping[str, np.ndarray], described: Mapping[str, Any]) -> str:
    """Return a name for the numbers, their order, and what they stand for."""
    digest = sha256(json.dumps([described["concept"], described["reasons"]]).encode())
    for name in (*_ARRAYS, *_RANDOM):
        if name in arrays:
            digest.update(f"{name} {arrays[name].shape}\n".encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _built(arrays: Mapping[str, np.ndarray], described: Mapping[str, Any]) -> Direction:
    """Return the direction of these parts.

    Raises:
        ValueError: (or TypeError, KeyError) They are no direction.
    """
    vectors, mean, deviation = (arrays[name] for name in _ARRAYS)
    reasons, concept = tuple(described["reasons"]), described["concept"]
    dtypes = [values.dtype.name for values in (vectors, mean, deviation)]
    if vectors.ndim != 2 or dtypes != ["float32", "float64", "float64"]:
        raise ValueError("its arrays do not belong together")
    if not mean.shape == deviation.shape == vectors.shape[:1] == (len(reasons),):
        raise ValueError("its arrays do not belong together")
    if not isinstance(concept, str) or not all(reason is None or isinstance(reason, str) for reason in reasons):
        raise TypeError("its concept or a reason is no text")
    for layer, reason in enumerate(reasons):
        scale = (float(mean[layer]), float(deviation[layer]))
        if reason is None and not abs(float(np.linalg.norm(vectors[layer])) - 1.0) <= _NORM_TOLERANCE:
            raise ValueError(f"layer {layer} has no vector of unit norm, and no reason")
        if reason is None and not (np.isfinite(scale).all() and scale[1] > 0.0):
            raise ValueError(f"layer {layer} needs a finite mean and a positive spread, not {scale[0]} and {scale[1]}")
        if reason is not None and np.isfinite(scale).any():
            raise ValueError(f"layer {layer} has a scale, and a reason why it has none")
    random = _random(described, arrays, reasons)
    return Direction(concept, vectors, mean, deviation, reasons, _source(described["source"]), random)


def _source(described: dict[str, Any]) -> DirectionSource:
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "str | None": (str, type(None))}
    kinds["tuple[str, ...]"] = (list,)
    described = {"template": None} | described
    for item in fields(DirectionSource):
        value, least = described[item.name], _LEAST.get(item.name)
        if type(value) not in kinds[str(item.type)] or not all(isinstance(one, str) for one in described["topics"]):
            raise TypeError(f'"{item.name}" is not of type {item.type}')
        if least is not None and value < least:
            raise ValueError(f'"{item.name}" must be at least {least}, not {value}')
    if described["n_calibration_pairs"] > min(described["n_pairs"], described["n_calibration_tokens"]):
        raise ValueError("there are more calibration pairs than pairs or tokens")
    values = {item.name: described[item.name] for item in fields(DirectionSource)}
    return DirectionSource(**(values | {"topics": tuple(values["topics"])}))


def _random(
    described: Mapping[str, Any], arrays: Mapping[str, np.ndarray], reasons: tuple[str | None, ...]
) -> RandomScale | None:
    if not any(name in arrays for name in _RANDOM):
        return None
    mean, deviation = (arrays[name] for name in _RANDOM)
    if type(described["random_seed"]) is not int or described["random_seed"] < 0:
        raise TypeError('"random_seed" is not a seed')
    fits = mean.ndim == 2 and mean.shape == deviation.shape and mean.shape[1] == len(reasons)
    if not (fits and mean.dtype == deviation.dtype == np.float64):
        raise ValueError("the scales of random directions do not belong to its layers")
    defined = np.array([reason is None for reason in reasons])
    if not (np.isfinite(mean[:, defined]).all() and np.isfinite(deviation[:, defined]).all()):
        raise ValueError("the scales of random directions are no scales")
    if (deviation < 0.0).any():
        raise ValueError("the scales of random directions are no scales")
    return RandomScale(described["random_seed"], mean, deviation)
