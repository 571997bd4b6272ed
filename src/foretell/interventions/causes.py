"""What predicts a behaviour beside what causes it: parts of a model judged by their signals and by changing them.

table = causes(model, run, heads=[(3, 5), (7, 1)])
table.select("component", "verdict", "why")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float

from foretell.conversations.conversation import Conversation
from foretell.directions.checked_numbers import whole_number
from foretell.directions.direction import Direction
from foretell.errors import InputError
from foretell.interventions.answer_contrasts import answer_contrasts
from foretell.interventions.cause_rows import HeldOut, Part, cause_table, part_evidence
from foretell.interventions.changing.attention_knockout import check_knockout
from foretell.interventions.changing.head_outputs import HeadPlaces, head_places
from foretell.interventions.changing.intervened import References
from foretell.interventions.changing.intervention import (
    ABLATIONS,
    Ablation,
    DirectionIntervention,
    HeadIntervention,
    Intervention,
)
from foretell.interventions.changing.reference_values import Values, recorded, reference_of
from foretell.interventions.chosen_components import (
    chosen_heads,
    direction_interventions,
    head_interventions,
    held_out_samples,
    monitor_directions,
)
from foretell.interventions.judging.causal_verdicts import causal_verdicts
from foretell.interventions.judging.predictive_strength import JudgedSamples, predictive_strength
from foretell.interventions.matched_controls import matched_controls
from foretell.interventions.outcomes import Measured, Outcomes
from foretell.interventions.part_columns import LabelledRun, labelled_run
from foretell.jobs.progress_bar import progress_bar
from foretell.monitors.monitor import Monitor
from foretell.reading.chat.rendered import Rendered
from foretell.reading.chat.spans import render
from foretell.reading.models.fingerprints import weights_differ
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import Sampling
from foretell.schema.tables import SEGMENTS
from foretell.stats.folds import derived_seed
from foretell.stats.study import Study
from foretell.storage.runs import Run

__all__ = ["causes"]

_GENERATED = SEGMENTS.index("generated")
_N_REFERENCE = 32
"""Training conversations whose values take the place of what is ablated."""


@dataclass(frozen=True)
class _Settings:
    ablation: Ablation
    n_controls: int
    batch_tokens: int
    error_rate: float
    seed: int
    progress: bool | None

    def __post_init__(self) -> None:
        whole_number(self.n_controls, "n_controls", least=1)
        whole_number(self.batch_tokens, "batch_tokens", least=1)
        whole_number(self.seed, "seed", least=0)
        if not 0.0 < self.error_rate < 1.0:
            raise InputError(f"error_rate must be between 0 and 1, not {self.error_rate!r}")


def causes(  # noqa: PLR0913 - a choice of parts, of what is done to them, and of how it is measured
    model: Model,
    source: Run | Study | Path | str,
    monitor: Monitor | None = None,
    *,
    behaviour: str | None = None,
    heads: int | Iterable[Any] | None = None,
    segments: Sequence[str] = (),
    together: bool = False,
    directions: Sequence[Direction] = (),
    layers: Sequence[int] = (),
    doses: Sequence[float] = (),
    ablation: Ablation | str = "mean",
    held_out: float | Sequence[str] | None = None,
    answers: Mapping[str, Sequence[str]] | None = None,
    n_controls: int = 20,
    max_new_tokens: int | None = None,
    error_rate: float = 0.05,
    batch_tokens: int = 4096,
    seed: int = 0,
    progress: bool | None = None,
) -> pl.DataFrame:
    """Set what predicts a behaviour beside what causes it: heads, segments and directions, on held-out groups.

    Each part is judged twice. Does its signal *predict* the label: a score is fitted on training groups, and its AUC is
    that of held-out groups. Does changing it *cause* another label: on the held-out conversations the model answers
    with the part changed, and its answers are labelled again by their verifiers; and with the part changed it reads two
    given answers, one of each label, whose log-odds may move. Both are compared with the same done to random other
    heads of the layer, or along random directions. All tests share one error rate; docs/concepts/causes.md explains
    what the verdicts mean and what they do not.

    Args:
        model: The model that wrote or read the answers.
        source: A finished, labelled run of that model, its folder, or a study of one, whose labels and groups are then
            taken.
        monitor: A monitor whose heads, activities and hidden states are the parts, on groups that its score was not
            fitted on.
        behaviour: Which behaviour, or dataset, of the run; None: the only one that it has.
        heads: Heads as (layer, head), chosen without the held-out groups; or how many of those that predict best on
            training groups; None: the monitor's, or 4.
        segments: Segments that each head is also tested without: its keys in them are masked.
        together: Also test all heads at once: what one head does may be done by another one when it is missing.
        directions: Directions that are removed, each at each of the layers.
        layers: Blocks after which directions are removed or added.
        doses: Standard deviations of a direction that are also added, from the last token of the prompt on.
        ablation: What takes the place of what is ablated: "mean" over tokens of training conversations, "zero", or
            "resample": what another training conversation has at the same position.
        held_out: Share of the groups that effects are measured on, or their names; None: those that a monitor was not
            fitted on, or half.
        answers: Texts of an answer of label 1 and of label 0, by id. None: where the run has answers of both labels to
            one prompt, these; otherwise the right and the wrong answer that the verifier knows.
        n_controls: Other heads, or random directions, that a part is compared with.
        max_new_tokens: Longest generated answer; None: that of the run; 0 generates none, and no label is tested.
        error_rate: Share of tables of parts without effect that say *predicts* or *causes* of any part.
        batch_tokens: Padded tokens in one batch.
        seed: Fixes groups, controls and which conversation's values are given to which.
        progress: Show a bar; None shows it on a terminal and in a notebook.

    Returns:
        The columns of `foretell.schema.tables.CAUSES`, one row per part, with verdict and reason.

    Raises:
        InputError: No labelled run, a run or monitor of another model, no held-out groups, an unknown head, layer,
            segment or group, or a setting out of range.
        NotReadableError: The heads of a layer cannot be isolated, or attention cannot be computed with another mask.

    Undefined:
        Numbers are null with a reason where fewer than 10 held-out groups have an outcome, where no verifier or no
        second answer is known, or where there are fewer than 5 controls; the verdict is then *cannot say*.

    Example:
        >>> import foretell
        >>> model = foretell.load_model("smollm2")  # doctest: +SKIP
        >>> foretell.causes(model, "run", heads=4, segments=["query"])  # doctest: +SKIP
    """
    settings = _Settings(_ablation(ablation), n_controls, batch_tokens, error_rate, seed, progress)
    known = labelled_run(source, behaviour)
    _check_model(model, known.run, monitor, directions)
    held = held_out_samples(known.samples, held_out, monitor, seed=seed)
    by_head = known.masses.reshape(*known.masses.shape[:2], -1)
    chosen = chosen_heads(heads, monitor, by_head, known.heads, (~held, known.samples.label))
    # A direction that is given takes the place of the monitor's own of the same name.
    along = {
        one.name: one for one in (*monitor_directions(monitor), *direction_interventions(directions, layers, doses))
    }
    parts: list[Intervention] = [*head_interventions(chosen, segments, together=together), *along.values()]
    if not parts:
        raise InputError("there is nothing to test: give heads, or directions and layers")
    places = head_places(model.model) if chosen else None
    if places is not None:
        places.check(chosen)
        if segments:
            check_knockout(model, places)
    work = _Work(model, known, held, parts, places, settings)
    return work.table(_sampling(known.run, max_new_tokens), answers)


def _ablation(name: str) -> Ablation:
    for known in ABLATIONS:
        if name == known:
            return known
    raise InputError(f"ablation must be one of {', '.join(ABLATIONS)}, not {name!r}")


def _check_model(model: Model, run: Run, monitor: Monitor | None, directions: Sequence[Direction]) -> None:
    """Refuse a model that is not the run's, or whose monitor or directions are another model's."""
    job: dict[str, Any] = run.manifest["job"]
    reason = weights_differ(model.model, str(job.get("weights", "")))
    if reason is not None:
        raise InputError(
            f"{run.path}: was made by {job.get('model')}; the weights of {model.name} {reason}: read the conversations "
            "with this model"
        )
    if monitor is not None:
        monitor.check_model(model)
    for direction in directions:
        direction.check_fits(model)


def _sampling(run: Run, max_new_tokens: int | None) -> Sampling | None:
    """Return how answers are generated: as those of the run were, or greedily where they were given."""
    sampling = Sampling(**(run.manifest["job"].get("sampling") or {}))
    if max_new_tokens is None:
        return sampling
    whole_number(max_new_tokens, "max_new_tokens", least=0)
    return replace(sampling, max_new_tokens=max_new_tokens) if max_new_tokens else None


@dataclass(frozen=True)
class _Work:
    """The parts to be tested, and everything that they are tested on."""

    model: Model
    known: LabelledRun
    held: Bool[np.ndarray, " sample"]
    parts: Sequence[Intervention]
    places: HeadPlaces | None
    settings: _Settings

    def table(self, sampling: Sampling | None, answers: Mapping[str, Sequence[str]] | None) -> pl.DataFrame:
        """Measure every part and its controls, and return the table."""
        known, settings = self.known, self.settings
        conversations = [one for one, out in zip(known.conversations, self.held, strict=True) if out]
        contrasts = answer_contrasts(conversations, known.conversations, answers)
        no_labels = _no_labels(conversations, sampling)
        if no_labels is not None and not contrasts:
            raise InputError(
                f"{known.run.path}: no effect can be measured: {no_labels}, and no conversation has a second answer of "
                "the other label: give answers, or conversations with verifiers"
            )
        controls = [self._controls(part) for part in self.parts]
        columns, references = self._columns([*self.parts, *chain.from_iterable(controls)])
        measured = Measured(
            self.model,
            conversations,
            contrasts,
            references,
            sampling=sampling if no_labels is None else None,
            batch_tokens=settings.batch_tokens,
            seed=settings.seed,
        )
        found = self._outcomes(measured, controls)
        held = HeldOut(
            label=known.samples.label[self.held],
            group=known.samples.group[self.held],
            before=found[None],
            no_labels=no_labels,
            no_odds=None if contrasts else "no conversation has a second answer of the other label: give answers",
            seed=settings.seed,
        )
        judged = JudgedSamples(known.samples.label, known.samples.group, known.stratum, self.held, known.baselines)
        rows = [
            Part(part, predictive_strength(own, judged), found[part], [found[one] for one in others])
            for part, own, others in zip(self.parts, columns, controls, strict=True)
        ]
        evidence = [part_evidence(row, held) for row in rows]
        verdicts = causal_verdicts(evidence, error_rate=settings.error_rate)
        return cause_table(rows, evidence, verdicts, held, settings.ablation)

    def _controls(self, part: Intervention) -> list[Intervention]:
        under_test = {head for one in self.parts if isinstance(one, HeadIntervention) for head in one.heads}
        n_heads = {} if self.places is None else {at: self.places.n_heads[at] for at in self.places.projections}
        settings = self.settings
        return matched_controls(part, settings.n_controls, n_heads=n_heads, excluded=under_test, seed=settings.seed)

    def _outcomes(
        self, measured: Measured, controls: Sequence[Sequence[Intervention]]
    ) -> dict[Intervention | None, Outcomes]:
        """Return outcomes without intervention, and under each part and control; one that several share once."""
        todo: dict[Intervention | None, None] = dict.fromkeys((None, *self.parts, *chain.from_iterable(controls)))
        found = {}
        progress = self.settings.progress
        with progress_bar(total=len(todo), desc="intervening", unit="intervention", progress=progress) as bar:
            for one in todo:
                found[one] = measured.outcomes(one)
                bar.update()
        return found

    def _columns(self, every: Sequence[Intervention]) -> tuple[list[Float[np.ndarray, "sample column"]], References]:
        """Return the columns by which each part may predict, and what takes the place of what is ablated."""
        along = [one for one in self.parts if isinstance(one, DirectionIntervention)]
        ablated = {
            head for one in every if isinstance(one, HeadIntervention) and one.segment is None for head in one.heads
        }
        training = np.flatnonzero(~self.held)
        generator = np.random.default_rng(derived_seed(self.settings.seed, "reference"))
        donors = sorted(generator.permutation(training)[:_N_REFERENCE].tolist())
        rendered = {at: self._rendered(at) for at in (range(len(self.held)) if along else donors)}
        budget = self.settings.batch_tokens
        of_heads, _ = recorded(
            self.model, [rendered[at] for at in donors], budget=budget, heads=sorted(ablated), places=self.places
        )
        ablation = self.settings.ablation
        heads = {head: reference_of(values, ablation) for head, values in of_heads.items()}
        projections = self._projections(along, list(rendered.values())) if along else {}
        directions = {
            place: reference_of([values[at] for at in donors], ablation) for place, values in projections.items()
        }
        columns = []
        for part in self.parts:
            if isinstance(part, HeadIntervention):
                columns.append(self.known.head_columns(part.heads, part.segment))
                continue
            values = projections[part.concept, part.layer]
            means = [
                float(one[torch.from_numpy(item.segments == _GENERATED)].mean())
                for one, item in zip(values, rendered.values(), strict=True)
            ]
            columns.append(np.array(means)[:, None])
        return columns, References(self.places, heads, directions)

    def _projections(
        self, along: Sequence[DirectionIntervention], rendered: Sequence[Rendered]
    ) -> dict[tuple[str, int], Values]:
        """Return the projections of every token along every direction, by concept and layer."""
        vectors = {(one.concept, one.layer): torch.as_tensor(one.read, dtype=torch.float32) for one in along}
        layers = sorted({layer for _, layer in vectors})
        places = {layer: [place for place in vectors if place[1] == layer] for layer in layers}
        stacked = {layer: torch.stack([vectors[place] for place in places[layer]]) for layer in layers}
        _, found = recorded(self.model, rendered, budget=self.settings.batch_tokens, directions=stacked)
        return {
            place: [one[:, [column]] for one in found[layer]]
            for layer in layers
            for column, place in enumerate(places[layer])
        }

    def _rendered(self, at: int) -> Rendered:
        one = self.known.conversations[at]
        return render(self.model, one, answer=one.answer, answer_token_ids=one.answer_token_ids)


def _no_labels(conversations: Sequence[Conversation], sampling: Sampling | None) -> str | None:
    """Say why answers are not generated and labelled; None where they are."""
    if sampling is None:
        return "no answers are generated (max_new_tokens is 0)"
    n_checked = sum(one.verifier is not None for one in conversations)
    return None if n_checked else "no held-out conversation has a verifier to label answers with"
