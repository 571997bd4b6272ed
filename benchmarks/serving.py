"""How soon the live page has a token's numbers: until the first, and per token, beside plain generation.

The first token's numbers need a pass that plain generation makes for its second token: a token is read once it is fed.
So both are timed: plain generation until its first token is chosen, and until its second one is, which is when the
first one's activity can be known at all. Ours is timed inside the process and at the other end of the HTTP connection.

python benchmarks/serving.py [--tokens 24] [--repeats 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import torch
from tests.serving.conftest import TOKEN, served
from transformers.generation.streamers import BaseStreamer

import foretell
from foretell.conversations.conversation import Conversation, Message
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.serving.catalogue import Catalogue

QUESTION = "Who is Elon Musk? Answer in one sentence, and say where he was born and what he is known for. "
TIMES = (1, 4, 12)
"""How often the question is repeated, so that prompts have different lengths."""


class Moments(BaseStreamer):
    """When each token of a generation was chosen, in seconds since it was made."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds: list[float] = []
        self._is_prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt first, then every token."""
        if not self._is_prompt:
            self.seconds.append(time.perf_counter() - self.began)
        self._is_prompt = False

    def end(self) -> None:
        """Take the end."""


def plain(model: Model, conversation: Conversation, n_tokens: int) -> list[float]:
    """Return when plain generation chose each token."""
    moments = Moments()
    ids = torch.from_numpy(render(model, conversation, answer=None).token_ids)[None]
    with torch.inference_mode():
        model.model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n_tokens,
            do_sample=False,
            streamer=moments,
        )
    return moments.seconds


def live(page: httpx.Client, conversation: Conversation, n_tokens: int) -> list[float]:
    """Return when each token's numbers came to a reader of the page."""
    messages = [{"role": one.role, "content": one.content} for one in conversation.messages]
    question = {"model": "smollm2", "messages": messages, "answers": [{}], "direction": "direction-1"}
    found: list[float] = []
    began = time.perf_counter()
    with page.stream("POST", "/api/answers", json={**question, "sampling": {"max_new_tokens": n_tokens}}) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and json.loads(line[6:])["event"] == "token":
                found.append(time.perf_counter() - began)
    return found


def medians(ask: Callable[[], list[float]], repeats: int) -> list[float]:
    """Return the median moment of each token."""
    return [statistics.median(one) for one in zip(*(ask() for _ in range(repeats)), strict=True)]


def main() -> None:
    """Print one line per length of the prompt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=7)
    settings = parser.parse_args()
    model = foretell.load_model("smollm2")
    fitted = foretell.fit_direction(model, foretell.fact_pairs(per_topic=1)[:8], progress=False)
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder) / "lying.safetensors")
        catalogue = Catalogue.found({"smollm2": lambda: model}, directions=[Path(folder) / "lying.safetensors"])
    catalogue.model("smollm2")
    rows: list[dict[str, Any]] = []
    with served(catalogue) as address:
        page = httpx.Client(base_url=address, headers={"x-foretell-token": TOKEN}, timeout=300)
        for times in TIMES:
            conversation = Conversation("asked", "live", (Message("user", QUESTION * times),))
            n_prompt = len(render(model, conversation, answer=None).token_ids)
            for warm in (plain(model, conversation, 2), live(page, conversation, 2)):
                assert len(warm) == 2  # noqa: S101
            # in turn, so that both see the same machine
            turns = [
                (plain(model, conversation, settings.tokens), live(page, conversation, settings.tokens))
                for _ in range(settings.repeats)
            ]
            theirs, ours = (medians(iter([one[side] for one in turns]).__next__, len(turns)) for side in (0, 1))
            per_token = [(one[-1] - one[0]) / (len(one) - 1) for one in (theirs, ours)]
            rows.append(
                {
                    "prompt": n_prompt,
                    "plain first (ms)": theirs[0] * 1e3,
                    "plain second (ms)": theirs[1] * 1e3,
                    "live first (ms)": ours[0] * 1e3,
                    "of first": ours[0] / theirs[0],
                    "of second": ours[0] / theirs[1],
                    "per token": per_token[1] / per_token[0],
                }
            )
    print("  ".join(f"{name:>18}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:>18.2f}" for value in row.values()))


if __name__ == "__main__":
    main()
