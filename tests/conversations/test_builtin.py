"""The built-in prompts and facts: enough of them, distinct, checkable, and free of give-away words."""

import json
from collections import Counter, defaultdict

import pytest

from foretell.conversations.builtin import builtin_conversations, builtin_facts
from foretell.conversations.set_names import BUILTIN_DATASETS
from foretell.errors import InputError
from foretell.labels.verifiers import check_specification, verify, words


def test_three_sets_of_a_hundred_or_more_prompts() -> None:
    counts = Counter(conversation.dataset for conversation in builtin_conversations())
    assert set(counts) == set(BUILTIN_DATASETS)
    assert min(counts.values()) >= 100
    assert len(builtin_conversations("flan")) == counts["flan"]


def test_every_prompt_has_its_own_text_and_id_a_kind_and_a_valid_check() -> None:
    conversations = builtin_conversations()
    assert len({conversation.id for conversation in conversations}) == len(conversations)
    texts = [conversation.messages_json() for conversation in conversations]
    assert len(set(texts)) == len(texts)
    for conversation in conversations:
        assert conversation.stratum
        assert conversation.answer is None
        assert conversation.verifier is not None
        check_specification(conversation.verifier)


def test_kinds_of_constraint_are_many_and_none_is_rare() -> None:
    kinds: dict[str, Counter[str | None]] = defaultdict(Counter)
    for conversation in builtin_conversations():
        kinds[conversation.dataset][conversation.stratum] += 1
    assert all(len(counts) >= 8 and min(counts.values()) >= 8 for counts in kinds.values())
    assert len(set().union(*kinds.values())) >= 14


def test_tasks_are_no_near_duplicates() -> None:
    bags = [
        frozenset(w.casefold() for m in c.messages if m.role == "user" for w in words(m.content))
        for c in builtin_conversations()
    ]
    for index, bag in enumerate(bags):
        for other in bags[:index]:
            assert len(bag & other) / len(bag | other) < 0.75, (bag, other)


def test_the_constraint_lies_in_the_stated_segment() -> None:
    for conversation in builtin_conversations():
        message = conversation.messages[-1]
        parts = {span.segment: message.content[span.start : span.stop] for span in message.spans}
        assert message.role == "user"
        if conversation.dataset == "sharegpt":
            assert [entry.role for entry in conversation.messages] == ["user", "assistant", "user"]
            assert not parts
        else:
            assert set(parts) == {"prompt", "query"}
        if conversation.stratum == "no commas":
            where = {"alpaca": "query", "flan": "prompt"}.get(conversation.dataset)
            assert "comma" in (parts[where] if where else message.content).lower()


def test_a_wanted_word_is_named_in_the_prompt() -> None:
    for conversation in builtin_conversations():
        for word in (conversation.verifier or {}).get("words", ()):
            assert word.lower() in conversation.messages[-1].content.lower()


def test_prompts_are_short() -> None:
    for conversation in builtin_conversations():
        total = sum(len(words(message.content)) for message in conversation.messages)
        assert total <= (45 if conversation.dataset == "sharegpt" else 25), conversation.id


def test_labels_need_only_the_answers() -> None:
    verdicts = [verify("A short answer.", conversation.verifier or {}) for conversation in builtin_conversations()]
    assert {verdict.followed for verdict in verdicts} == {True, False}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="use instructions, questions, false-claims, lies, alpaca, sharegpt, flan"):
        builtin_conversations("dolly")
    with pytest.raises(InputError, match="use capitals"):
        builtin_facts("cooking")


def test_facts_cover_topics() -> None:
    counts = Counter(fact.topic for fact in builtin_facts())
    assert sum(counts.values()) >= 240
    assert len(counts) >= 6
    assert min(counts.values()) >= 30
    assert len({fact.id for fact in builtin_facts()}) == sum(counts.values())
    assert len({fact.question for fact in builtin_facts()}) == sum(counts.values())
    assert len(builtin_facts("history")) == counts["history"]


def _ending(statement: str, other: str) -> str:
    """The part of a statement after what it shares with another, cut at a word."""
    shared = next((i for i, (a, b) in enumerate(zip(statement, other, strict=False)) if a != b), 0)
    return statement[statement.rfind(" ", 0, shared) + 1 :]


def test_true_and_false_answers_share_their_frame() -> None:
    for fact in builtin_facts():
        assert fact.true_answer != fact.false_answer
        assert fact.true_answer[-1] == fact.false_answer[-1] == "."
        assert fact.question[-1] == "?"
        shared = len(fact.true_answer) - len(_ending(fact.true_answer, fact.false_answer))
        assert shared >= 3
        assert fact.true_answer[:shared] == fact.false_answer[:shared]


def test_no_word_separates_true_from_false() -> None:
    for topic in {fact.topic for fact in builtin_facts()}:
        true: Counter[str] = Counter()
        false: Counter[str] = Counter()
        for fact in builtin_facts(topic):
            true.update(words(fact.true_answer))
            false.update(words(fact.false_answer))
        assert true == false, (topic, true - false, false - true)


def test_no_false_answer_is_true_of_its_question() -> None:
    true = {(fact.question, fact.true_answer) for fact in builtin_facts()}
    assert not any((fact.question, fact.false_answer) in true for fact in builtin_facts())


def test_arithmetic_is_right_and_its_false_answers_lie_on_both_sides() -> None:
    signs = {"plus": 1, "minus": -1}
    larger = 0
    for fact in builtin_facts("arithmetic"):
        left, sign, right = fact.question.removeprefix("What is ").rstrip("?").split()
        value = int(left) * int(right) if sign == "times" else int(left) + signs[sign] * int(right)
        assert fact.true_answer.endswith(f" is {value}.")
        wrong = int(fact.false_answer.rstrip(".").rsplit(" ", 1)[1])
        assert wrong != value
        larger += wrong > value
    assert 2 * larger == len(builtin_facts("arithmetic"))


def test_the_packaged_files_have_the_shapes_they_are_named_after() -> None:
    from importlib.resources import files

    folder = files("foretell") / "data"
    assert {"instruction", "input", "output"} <= json.loads((folder / "alpaca.json").read_text("utf-8"))[0].keys()
    assert "conversations" in json.loads((folder / "sharegpt.json").read_text("utf-8"))[0]
    header = (folder / "flan.tsv").read_text("utf-8").split("\n", 1)[0].split("\t")
    assert {"question", "answer", "rationale"} <= set(header)
