"""Other wordings of the built-in questions: the same facts, labels and groups in other words."""

from __future__ import annotations

import pytest

from foretell.conversations.builtin import builtin_conversations
from foretell.conversations.conversation import Conversation
from foretell.conversations.wordings import WORDINGS
from foretell.errors import InputError
from foretell.labels.verifiers import check_specification, verify

SETS = ("questions", "false-claims", "lies")
OTHERS = [name for name in WORDINGS if name != "usual"]


def about(one: Conversation) -> tuple[object, ...]:
    """What a wording must not change: fact, kind, segments and whether there is a system message."""
    segments = tuple(span.segment for span in one.messages[-1].spans)
    return one.group, one.stratum, one.dataset, one.behaviour, segments, len(one.messages)


@pytest.mark.parametrize("wording", OTHERS)
@pytest.mark.parametrize("name", SETS)
def test_another_wording_asks_for_the_same_in_other_words(name: str, wording: str) -> None:
    usual, other = builtin_conversations(name), builtin_conversations(name, wording=wording)
    assert [about(one) for one in other] == [about(one) for one in usual]
    assert [one.id for one in other] == [f"{one.id}-{wording}" for one in usual]
    for before, after in zip(usual, other, strict=True):
        assert before.messages != after.messages
        query = after.messages[-1].spans[-1]
        text = after.messages[-1].content[query.start : query.stop]
        assert before.messages[-1].content.endswith(text)
        assert after.verifier is not None
        check_specification(after.verifier)


def test_wordings_share_no_request() -> None:
    for part in ("request", "claim", "lie", "truth"):
        assert len({getattr(one, part) for one in WORDINGS.values()}) == len(WORDINGS)
    for one in WORDINGS.values():
        assert len(one.lie) == len(one.truth) == len({*one.lie, *one.truth}) / 2


def test_a_denied_claim_is_false_where_it_denies_the_truth() -> None:
    claims = {one.id: one for one in builtin_conversations("false-claims", wording="negated")}
    false, true = (claims[f"false-claims-capitals-spain-{kind}-claim-negated"] for kind in ("false", "true"))
    assert "not true: The capital of Spain is Madrid." in false.messages[-1].content
    assert "Madrid" not in true.messages[-1].content
    assert false.verifier is not None
    assert verify("The capital of Spain is Oslo.", false.verifier).followed
    assert verify("The capital of Spain is Madrid.", false.verifier).followed is False


@pytest.mark.parametrize(
    ("name", "wording", "message"),
    [
        ("questions", "rude", "there is no wording 'rude': use usual, paraphrased"),
        (None, "casual", "'instructions' has its usual wording only; questions"),
        ("flan", "negated", "'flan' has its usual wording only"),
        ("nothing", "usual", "there is no built-in set 'nothing'"),
    ],
)
def test_wordings_that_do_not_exist_are_refused(name: str | None, wording: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        builtin_conversations(name, wording=wording)
