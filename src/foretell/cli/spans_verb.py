"""The verb `spans`: which tokens of a text belong to which segment."""

from __future__ import annotations

from typing import Any

import click

from foretell.cli.options import (
    conversations_argument,
    errors_option,
    format_option,
    ignore_option,
    model_argument,
    opened_conversations,
    scorer_option,
    trust_option,
)
from foretell.errors import InputError

__all__ = ["spans"]


@click.command()
@model_argument
@conversations_argument
@format_option
@click.option(
    "--limit", type=click.IntRange(0), default=3, show_default=True, help="Number of conversations; 0 shows all."
)
@errors_option
@ignore_option
@scorer_option
@trust_option
def spans(model: str, conversations: str, limit: int, trust_remote_code: bool, **options: Any) -> None:
    """Show the segments of each text (system, prompt, query, template, generated) in MODEL's tokens.

    MODEL is smollm2 (the embedded model), a folder, or a hub id; only its tokenizer is loaded. CONVERSATIONS is a
    file, "builtin", or one built-in set, such as "builtin:questions".

    \b
    Examples:
      foretell spans smollm2 builtin
      foretell spans ./my-model prompts.jsonl --limit 0
    """
    from foretell.reading.chat.spans import render
    from foretell.reading.models.load import load_tokenizer
    from foretell.showing.terminal import say, show_spans

    samples = opened_conversations(conversations, options)
    tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code)
    for sample in samples[:limit] if limit > 0 else samples:
        try:
            rendered = render(tokenizer, sample, answer=sample.answer, answer_token_ids=sample.answer_token_ids)
        except InputError as error:
            say(f"{sample.id}: not read: {error}", style="yellow")
            continue
        counts = ", ".join(f"{name} {count}" for name, count in rendered.counts.items() if count)
        show_spans(f"{sample.id} ({counts})", rendered.pieces)
