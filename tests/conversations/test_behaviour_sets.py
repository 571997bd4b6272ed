"""The built-in sets of behaviours: complete, counterbalanced, and won by no answer that is always the same."""

from collections import Counter, defaultdict
from collections.abc import Callable

import polars as pl
import pytest

import foretell
from foretell.conversations.behaviour_sets import LIE, TRUTH
from foretell.conversations.builtin import builtin_conversations
from foretell.conversations.conversation import Conversation
from foretell.conversations.known_questions import claimed_answers, known_questions
from foretell.conversations.set_names import BUILTIN_SETS
from foretell.labels.verifiers import check_specification, verify

BEHAVIOURS = {
    "instructions": "followed the instruction",
    "questions": "answered correctly",
    "false-claims": "gave in to a false claim",
    "lies": "said something false",
}
SETS = {name: builtin_conversations(name) for name in BEHAVIOURS}
SHARE = 7
ASKED = {one.text: one for one in known_questions()}


def _text(conversation: Conversation, segment: str) -> str:
    message = conversation.messages[-1]
    return next(message.content[s.start : s.stop] for s in message.spans if s.segment == segment)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_every_conversation_can_be_labelled_and_says_what_the_label_means(name: str) -> None:
    conversations = SETS[name]
    assert len({conversation.id for conversation in conversations}) == len(conversations)
    for conversation in conversations:
        assert conversation.behaviour == BEHAVIOURS[name]
        assert conversation.stratum
        assert conversation.verifier is not None
        check_specification(conversation.verifier)
        if name != "instructions":
            assert conversation.dataset == name
            assert conversation.group


def test_the_instructions_are_the_three_sets_and_the_default() -> None:
    three = [entry for name in ("alpaca", "sharegpt", "flan") for entry in builtin_conversations(name)]
    assert SETS["instructions"] == builtin_conversations() == three
    assert set(BEHAVIOURS) < set(BUILTIN_SETS)


def test_ids_stay_what_they_are() -> None:
    firsts = [conversations[0].id for name, conversations in SETS.items() if name != "instructions"]
    assert firsts == [
        "questions-capitals-france",
        "false-claims-capitals-spain-false-claim",
        "lies-capitals-spain-told-to-lie",
    ]
    numbered = [one.id for conversations in SETS.values() for one in conversations if not one.id.isascii()]
    assert not numbered


def test_a_fact_has_one_group_in_all_sets() -> None:
    groups = {name: {one.group for one in SETS[name]} for name in ("questions", "false-claims", "lies")}
    assert groups["false-claims"] < groups["lies"] < groups["questions"]
    plain = {one.messages: one.group for one in SETS["questions"]}
    unclaimed = [one for one in SETS["false-claims"] if (one.stratum or "").endswith("no claim")]
    assert all(plain[one.messages] == one.group for one in unclaimed)


def test_claims_come_in_threes_of_one_question() -> None:
    conditions: dict[str, Counter[str]] = defaultdict(Counter)
    for one in SETS["false-claims"]:
        kind = (one.stratum or "").partition(", ")[2] or "false claim"
        conditions[kind][_text(one, "query")] += 1
    assert set(conditions) == {"false claim", "true claim", "no claim"}
    assert conditions["false claim"] == conditions["true claim"] == conditions["no claim"]
    assert set(conditions["no claim"].values()) == {1}
    assert 2 * len(conditions["no claim"]) >= 1000


def test_lies_and_honesty_are_asked_of_every_question_in_wordings_that_take_turns() -> None:
    by_kind: dict[str | None, dict[str, str]] = defaultdict(dict)
    topics: dict[str, Counter[str]] = defaultdict(Counter)
    for one in SETS["lies"]:
        system, user = one.messages
        by_kind[one.stratum][user.content] = system.content
        topics[(one.group or "").partition(":")[0]][system.content] += 1
    lie, honest = by_kind["told to lie"], by_kind["told to be honest"]
    assert len(SETS["lies"]) == len(lie) + len(honest) >= 1000
    assert all((lie[text], honest[text]) in set(zip(LIE, TRUTH, strict=True)) for text in lie)
    for counts in topics.values():
        assert set(counts) == {*LIE, *TRUTH}
        assert max(counts.values()) - min(counts.values()) <= 1
        assert all(counts[a] == counts[b] for a, b in zip(LIE, TRUTH, strict=True))


def _labels(name: str, answer: str | Callable[[Conversation], str]) -> Counter[tuple[str | None, bool | None]]:
    """Return how often each label is given in each stratum to answers that follow one rule, on a part of a set."""
    return Counter(
        (one.stratum, verify(answer if isinstance(answer, str) else answer(one), one.verifier or {}).followed)
        for one in SETS[name][::SHARE]
    )


@pytest.mark.parametrize("name", ["questions", "false-claims", "lies"])
@pytest.mark.parametrize("answer", ["Yes.", "No.", "I don't know.", "That is not so.", "That is correct.", "Nothing."])
def test_an_answer_that_names_nothing_never_shows_the_behaviour(name: str, answer: str) -> None:
    found = {label for _, label in _labels(name, answer)}
    assert found <= ({False, None} if name == "questions" else {None})


@pytest.mark.parametrize("name", ["questions", "lies"])
def test_repeating_what_was_asked_never_shows_the_behaviour(name: str) -> None:
    repeated = _labels(name, lambda one: one.messages[-1].content)
    assert not sum(number for (_, label), number in repeated.items() if label is True)


def test_one_answer_to_all_questions_is_seldom_right() -> None:
    for topic in {one.topic for one in known_questions()}:
        asked = [one for one in known_questions() if one.topic == topic]
        commonest = Counter(spelling for one in asked for spelling in one.accepted).most_common(1)[0][1]
        assert commonest <= 0.4 * len(asked), topic


def test_who_repeats_every_claim_says_a_falsehood_as_often_as_a_truth() -> None:
    """The label is defined where a claim is false; over all claims, agreeing is right in half of them."""
    claims = [one for one in SETS["false-claims"] if not (one.stratum or "").endswith("no claim")][::4]
    said = Counter(
        verify(_text(one, "prompt"), {"name": "answers_correctly", **_known(one)}).followed for one in claims
    )
    assert said[True] == said[False] == len(claims) // 2
    gave_in = _labels("false-claims", lambda one: _text(one, "prompt"))
    assert {label for (stratum, label), _ in gave_in.items() if ", " not in (stratum or "")} == {True}
    assert {label for (stratum, label), _ in gave_in.items() if ", " in (stratum or "")} == {None}


def _known(one: Conversation) -> dict[str, object]:
    same = ASKED[_text(one, "query")]
    return {"accepted": list(same.accepted), "others": list(same.others), "asked": same.text}


@pytest.mark.parametrize("topic", ["continents", "languages", "years"])
def test_who_always_names_one_thing_gives_in_as_often_as_not(topic: str) -> None:
    asked = {one.group: one for one in claimed_answers(64) if one.topic == topic}
    claims = [one for one in SETS["false-claims"] if one.stratum == topic]
    for answer in sorted({one.accepted[0] for one in asked.values()})[:6]:
        labels = Counter(verify(f"It is {answer}.", one.verifier or {}).followed for one in claims)
        assert labels[True] == labels[False] > 0, answer


def test_no_answer_does_better_after_the_request_to_lie() -> None:
    for answer in ("It is Paris.", "It is 12.", "Africa or Asia"):
        labels = _labels("lies", answer)
        for label in (True, False, None):
            assert labels["told to lie", label] == labels["told to be honest", label]


@pytest.mark.model
def test_a_real_model_is_labelled_by_what_it_says() -> None:
    model = foretell.load_model("smollm2")
    by_id = {one.id: one for conversations in SETS.values() for one in conversations}
    known = by_id["questions-capitals-spain"]
    read = foretell.read(
        model,
        [known, *(by_id[f"false-claims-capitals-spain-{kind}-claim"] for kind in ("true", "no"))],
        answers="generate",
        max_new_tokens=12,
        progress=False,
    )
    labels = foretell.label(read)
    found = dict(labels.select("id", "behavior_label").iter_rows())
    assert found[known.id] == 1
    reasons = dict(labels.filter(pl.col("behavior_label").is_null()).select("id", "label_reason").iter_rows())
    assert sorted(reasons.values()) == ["nothing was claimed", "the claim is true"]
    assert {one.id: one.behaviour for one in read.conversations()} == {one: by_id[one].behaviour for one in found}
    assert set(read.table().get_column("behaviour")) == {"answered correctly", "gave in to a false claim"}
