"""Options that verbs share."""

from __future__ import annotations

import click
import pytest

from foretell.cli.options import _checked_conversations, opened_conversations
from foretell.errors import InputError

COMMAND = click.Command("read", params=[click.Argument(["conversations"])])


def options() -> dict[str, object]:
    return {"errors": "raise", "ignore": (), "scorer": None, "format_": None}


@pytest.mark.parametrize(
    ("source", "first"),
    [
        ("builtin:questions", "questions-capitals-france"),
        ("builtin:questions:casual", "questions-capitals-france-casual"),
        ("builtin:lies:negated", "lies-capitals-spain-told-to-lie-negated"),
    ],
)
def test_a_built_in_set_is_named_with_its_wording(source: str, first: str) -> None:
    context = click.Context(COMMAND)
    assert _checked_conversations(context, COMMAND.params[0], source) == source
    assert opened_conversations(source, options())[0].id == first


def test_sets_and_wordings_that_do_not_exist_are_refused() -> None:
    context = click.Context(COMMAND)
    with pytest.raises(click.BadParameter, match="there is no built-in set 'riddles': use builtin:instructions"):
        _checked_conversations(context, COMMAND.params[0], "builtin:riddles:casual")
    with pytest.raises(InputError, match="there is no wording 'rude'"):
        opened_conversations("builtin:questions:rude", options())
