"""What a model does under an intervention: labels of the answers that it writes, and log-odds of two given answers.

measured = Measured(model, conversations, contrasts, references, sampling=Sampling(max_new_tokens=16))
measured.outcomes(None).label           # without any intervention
measured.outcomes(intervention).odds
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.conversations.conversation import Conversation
from foretell.interventions.answer_contrasts import AnswerContrast
from foretell.interventions.changing.fed_tokens import FedTokens
from foretell.interventions.changing.intervened import References, intervened
from foretell.interventions.changing.intervention import Intervention
from foretell.interventions.changing.text_batches import batched
from foretell.labels.verifiers import verify
from foretell.monitors.live.watch import end_ids
from foretell.reading.chat.rendered import Batch, Rendered, pad_batch
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import accepts
from foretell.reading.runs.answers import Sampling, generated_after, generation_options
from foretell.reading.signals.log_probabilities import token_scores
from foretell.schema.tables import SEGMENTS
from foretell.stats.folds import derived_seed

__all__ = ["Measured", "Outcomes"]

_GENERATED = SEGMENTS.index("generated")
_LOGIT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Outcomes:
    """What a model does for each conversation."""

    label: Float[np.ndarray, " sample"]
    """Label of the answer that it writes; nan where it has none."""
    odds: Float[np.ndarray, " sample"]
    """log P(answer of label 1) - log P(answer of label 0), in nats; nan without two answers."""


@dataclass(frozen=True)
class _Item:
    sample: int
    sign: float
    rendered: Rendered


class Measured:
    """Conversations whose outcomes are measured again and again, each time in the same batches.

    Args:
        model: A loaded model.
        conversations: Held-out conversations.
        contrasts: Two answers of different labels, by id.
        references: Places of heads and values for what is ablated.
        sampling: How answers are generated; None generates none.
        batch_tokens: Padded tokens in one batch.
        seed: Draws which conversation's values a sample is given.
    """

    def __init__(
        self,
        model: Model,
        conversations: Sequence[Conversation],
        contrasts: Mapping[str, AnswerContrast],
        references: References,
        *,
        sampling: Sampling | None,
        batch_tokens: int = 4096,
        seed: int = 0,
    ) -> None:
        self._model = model
        self._conversations = conversations
        self._references = references
        self._sampling = sampling
        # By its name, so that what a sample is given depends on no other sample.
        self._donors = torch.tensor([derived_seed(seed, "donor", one.id) for one in conversations])
        prompts = [render(model, one, answer=None) for one in conversations]
        n_new = 0 if sampling is None else sampling.max_new_tokens
        self._prompts = [
            (places, pad_batch([prompts[place] for place in places], pad_id=model.pad_id, side="left"))
            for places in batched(prompts, extra=n_new, budget=batch_tokens)
        ]
        items = list(chain.from_iterable(self._answers(at, contrasts) for at in range(len(conversations))))
        texts = [item.rendered for item in items]
        self._forced = [[items[place] for place in places] for places in batched(texts, budget=batch_tokens)]

    def outcomes(self, intervention: Intervention | None) -> Outcomes:
        """Return labels and log-odds under an intervention; None: without any."""
        label = np.full(len(self._conversations), np.nan)
        if self._sampling is not None:
            for places, batch in self._prompts:
                label[places] = self._labels(places, batch, self._sampling, intervention)
        odds = np.zeros(len(self._conversations))
        is_known = np.zeros(len(self._conversations), dtype=bool)
        for items in self._forced:
            for item, logprob in zip(items, self._logprobs(items, intervention), strict=True):
                odds[item.sample] += item.sign * float(logprob)
                is_known[item.sample] = True
        return Outcomes(label, np.where(is_known & np.isfinite(odds), odds, np.nan))

    def _answers(self, at: int, contrasts: Mapping[str, AnswerContrast]) -> Iterator[_Item]:
        conversation = self._conversations[at]
        contrast = contrasts.get(conversation.id)
        if contrast is not None:
            for sign, answer in ((1.0, contrast.positive), (-1.0, contrast.negative)):
                text = None if answer.token_ids is not None and not answer.text else answer.text
                yield _Item(at, sign, render(self._model, conversation, answer=text, answer_token_ids=answer.token_ids))

    def _fed(self, places: Sequence[int], batch: Batch) -> FedTokens:
        return FedTokens(batch.segments, self._donors[list(places)])

    def _labels(
        self, places: Sequence[int], batch: Batch, sampling: Sampling, intervention: Intervention | None
    ) -> list[float]:
        model = self._model
        conversations = [self._conversations[place] for place in places]
        options = generation_options(model, sampling, [one.id for one in conversations])
        with torch.inference_mode(), intervened(model, intervention, self._fed(places, batch), self._references):
            output = generated_after(model, batch, **options)
        ends = end_ids(model, options)
        labels = []
        for conversation, ids in zip(conversations, output[:, batch.token_ids.shape[1] :].tolist(), strict=True):
            n_tokens = next((at for at, one in enumerate(ids) if one in ends), len(ids))
            answer = str(model.tokenizer.decode(ids[:n_tokens], skip_special_tokens=True))
            verdict = None if conversation.verifier is None else verify(answer, conversation.verifier).followed
            labels.append(np.nan if verdict is None else float(verdict))
        return labels

    def _logprobs(self, items: Sequence[_Item], intervention: Intervention | None) -> Float[Tensor, " item"]:
        """Return the log-probability of each answer after its prompt, summed over its tokens."""
        model = self._model
        batch = pad_batch([item.rendered for item in items], pad_id=model.pad_id, side="right")
        first = min(item.rendered.n_prompt_tokens for item in items)
        width = batch.token_ids.shape[1]
        # Logits over the vocabulary are the largest tensor of the pass, and only answers need them.
        options = {"logits_to_keep": width - first + 1} if accepts(model.model, "logits_to_keep") else {}
        fed = self._fed([item.sample for item in items], batch)
        with torch.inference_mode(), intervened(model, intervention, fed, self._references):
            logits: Tensor = model.model(
                input_ids=batch.token_ids.to(model.device),
                attention_mask=batch.attention_mask.to(model.device),
                use_cache=False,
                **options,
            ).logits
            positions = torch.arange(width - first, device=logits.device) + logits.shape[1] - (width - first) - 1
            targets = batch.token_ids[:, first:].to(logits.device)
            (scores,) = token_scores(
                logits, positions.expand(len(items), -1), targets, entropy=False, chunk_bytes=_LOGIT_BYTES
            )
            is_answer = (batch.segments[:, first:] == _GENERATED).to(scores.device)
            return torch.where(is_answer, scores, 0.0).double().sum(1).cpu()
