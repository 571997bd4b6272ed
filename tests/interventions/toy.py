"""A hand-wired transformer in which it is known which head causes the answer and which only looks where the cause is.

The prompt may have the marker "A" in it. The model answers "+" where it has and "-" where it has not.

* `CAUSE` attends to the marker and writes what makes "+" likelier.
* `BYSTANDER` attends to the marker in the same way and writes where nothing is read.
* `PUSHER` attends to all tokens alike and writes a constant against "+".
* All other heads attend to tokens by their looks, and write a little noise, also where "+" is read from.
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import foretell
from foretell.conversations.conversation import Conversation, Message
from foretell.labels.registry import Verdict, register
from foretell.reading.models.load import Model
from foretell.storage.runs import Run
from tests.reading.tiny import tiny_tokenizer

__all__ = ["ANSWERS", "BYSTANDER", "CAUSE", "PUSHER", "answered", "asked", "toy_model"]

ANSWERS = ("+", "-")
"""Of label 1 and 0."""
CAUSE, BYSTANDER, PUSHER = (0, 2), (1, 1), (1, 4)
N_LAYERS, N_HEADS, WIDTH, HEAD = 2, 16, 64, 8
MARKER, ONE, ANSWER, UNREAD, LOOKS = 0, 1, 2, 3, 8
"""Coordinates: whether the token is the marker; always one; what the answer is read from; what nothing reads; and from
the last one on, what a token looks like."""
TEMPLATE = "{% for message in messages %}{{ '<|im_start|>' + message['content'] }}{% endfor %}<|im_end|>"
SLOW = (HEAD // 2 - 1, HEAD - 1)
"""Coordinates of a head that hardly turn with the position."""


def toy_model(seed: int = 0) -> Model:
    """Return the model; the seed draws the heads that play no part."""
    generator = np.random.default_rng(seed)
    configuration = LlamaConfig(
        vocab_size=260,
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_HEADS,
        head_dim=HEAD,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9},
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=3,
        tie_word_embeddings=False,
    )
    network = LlamaForCausalLM(configuration)
    network.train(False)
    network.generation_config.pad_token_id = 0
    tokenizer = tiny_tokenizer(TEMPLATE)
    with torch.no_grad():
        for one in network.parameters():
            one.zero_()
        for name, one in network.named_parameters():
            if "norm" in name:
                one.fill_(1.0)
        marker, plain, plus, minus = (tokenizer.encode(text, add_special_tokens=False)[0] for text in "AB+-")
        embedding = network.model.embed_tokens.weight
        embedding[:, ONE] = 1.0
        embedding[:, LOOKS:40] = torch.as_tensor(generator.normal(size=(260, 40 - LOOKS)), dtype=torch.float32)
        # Nothing but the marker's own coordinate says whether it is there, and nothing which answer was given.
        embedding[marker] = embedding[plain]
        embedding[plus] = embedding[minus]
        embedding[marker, MARKER] = 1.0
        for layer in range(N_LAYERS):
            for head in range(N_HEADS):
                _wire(network, (layer, head), generator)
        network.lm_head.weight[plus, ANSWER] = 6.0
        network.lm_head.weight[minus, ONE] = 1.0
        network.lm_head.weight[[plus, minus], ONE] += 4.0
    return Model(model=network, tokenizer=tokenizer, name="toy")


def _wire(network: LlamaForCausalLM, place: tuple[int, int], generator: np.random.Generator) -> None:
    """Give one head its weights."""
    layer, head = place
    attention = network.model.layers[layer].self_attn
    rows = slice(HEAD * head, HEAD * (head + 1))
    query, key, value = (getattr(attention, name).weight[rows] for name in ("q_proj", "k_proj", "v_proj"))
    output = attention.o_proj.weight[:, rows]
    if place in {CAUSE, BYSTANDER}:
        for at in SLOW:
            query[at, ONE] = 10.0
            key[at, MARKER] = 2.0
        value[0, MARKER] = 1.0
        output[ANSWER if place == CAUSE else UNREAD, 0] = 0.4 if place == CAUSE else 0.2
    elif place == PUSHER:
        value[0, ONE] = 1.0
        output[ANSWER, 0] = -0.15
    else:
        noise = torch.as_tensor(generator.normal(size=(3, HEAD, 40 - LOOKS)), dtype=torch.float32)
        query[:, ONE] = noise[0, :, 0]
        key[:, LOOKS:40], value[:, LOOKS:40] = 0.3 * noise[1], 0.3 * noise[2]
        output[ANSWER] = torch.as_tensor(generator.normal(size=HEAD), dtype=torch.float32) * 0.002
        output[UNREAD] = torch.as_tensor(generator.normal(size=HEAD), dtype=torch.float32) * 0.1


@register
def says_plus(answer: str) -> Verdict:
    """Whether the answer begins with "+"; undefined where it begins with neither sign."""
    return Verdict(answer[0] == "+" if answer[0] in ANSWERS else None, f"begins with {answer[0]}")


def asked(n: int, *, seed: int = 0) -> list[Conversation]:
    """Return conversations of random letters, every other one with the marker."""
    generator = np.random.default_rng(seed)
    found = []
    for index in range(n):
        letters = generator.integers(97, 123, 8).astype(np.uint8).tobytes().decode()
        at = int(generator.integers(1, 8))
        text = letters[:at] + ("A" if index % 2 else "B") + letters[at:]
        question = (Message("user", text),)
        found.append(Conversation(f"c{index:03d}", "toy", question, verifier={"name": "says_plus"}))
    return found


def answered(model: Model, n: int, *, seed: int = 0) -> Run:
    """Return a labelled run of answers of one token."""
    run = foretell.read(model, asked(n, seed=seed), answers="generate", max_new_tokens=1, progress=False)
    foretell.label(run)
    return run
