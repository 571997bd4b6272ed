"""The facts that questions, claims and lies are made of: well formed, checkable, and dealt without giving away."""

import re
from collections import Counter
from importlib.resources import files

import pytest

from foretell.conversations.builtin import builtin_facts
from foretell.conversations.known_questions import TOPICS, KnownQuestion, claimed_answers, known_questions
from foretell.labels.number_words import number_of
from foretell.labels.verifiers import verify

FORMS = ("{}", "**It is {}**, I think.")
CLAIMED = claimed_answers(64)


def _check(question: KnownQuestion) -> dict[str, object]:
    accepted, others = list(question.accepted), list(question.others)
    return {"name": "answers_correctly", "accepted": accepted, "others": others, "asked": question.text}


def test_a_thousand_questions_in_ten_topics_and_more_none_twice() -> None:
    counts = Counter(question.topic for question in known_questions())
    assert set(counts) == set(TOPICS)
    assert sum(counts.values()) >= 1000
    assert len(counts) >= 10
    assert min(counts.values()) >= 30
    for texts in ([one.text for one in known_questions()], [one.key for one in known_questions()]):
        assert len({text.casefold() for text in texts}) == len(texts)


def test_the_file_is_small_and_clean() -> None:
    content = (files("foretell") / "data" / "questions.csv").read_text("utf-8")
    assert len(content.encode()) < 200_000
    for line in content.splitlines()[1:]:
        assert line == line.strip()
        assert "  " not in line
        assert not re.search(r"\|\||\|$|,\||\|,", line), line


@pytest.mark.parametrize("topic", TOPICS)
def test_every_accepted_spelling_passes_its_own_check_and_no_other_answer_of_the_topic_does(topic: str) -> None:
    questions = [one for one in known_questions() if one.topic == topic]
    answers = [spelling for one in questions for spelling in one.accepted]
    for index, question in enumerate(questions):
        assert len(set(map(str.casefold, question.accepted))) == len(question.accepted)
        for spelling in question.accepted:
            for form in FORMS:
                assert verify(form.format(spelling), _check(question)).followed is True, (question.text, form, spelling)
        for wrong in answers[index % 40 :: 40]:
            if wrong.casefold() not in map(str.casefold, question.accepted):
                assert verify(f"It is {wrong}.", _check(question)).followed is False, (question.text, wrong)


def test_no_answer_is_in_its_question() -> None:
    for question in known_questions():
        asked = set(re.findall(r"\w+", question.text.casefold()))
        for spelling in question.accepted:
            assert not asked.issuperset(re.findall(r"\w+", spelling.casefold())), question.text


def test_arithmetic_is_right_and_its_families_share_a_group() -> None:
    signs = {"plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "times": lambda a, b: a * b}
    operations: Counter[str] = Counter()
    for question in known_questions():
        if question.topic == "arithmetic":
            left, sign, right = question.subject.split()
            assert question.accepted == (str(signs[sign](int(left), int(right))),)
            operations[sign] += 1
    assert min(operations.values()) >= 25
    groups = {one.subject: one.group for one in known_questions() if one.topic == "arithmetic"}
    assert len(set(groups.values())) < len(groups)
    for subject, group in groups.items():
        left, sign, right = subject.split()
        inverse = f"{int(left) + int(right)} minus {right}"
        if sign == "plus" and inverse in groups:
            assert groups[inverse] == group


def test_facts_that_two_files_hold_agree() -> None:
    known = {one.text: one for one in known_questions()}
    shared = [fact for fact in builtin_facts() if fact.question in known]
    assert len(shared) >= 100
    for fact in shared:
        assert verify(fact.true_answer, _check(known[fact.question])).followed is True, fact
        assert verify(fact.false_answer, _check(known[fact.question])).followed is False, fact


def test_each_answer_is_claimed_falsely_as_often_as_it_is_true() -> None:
    for topic in {question.topic for question in CLAIMED}:
        asked = [question for question in CLAIMED if question.topic == topic]
        assert Counter(CLAIMED[one] for one in asked) == Counter(one.accepted for one in asked)


def test_claims_are_false_and_name_nothing_that_the_question_or_the_truth_does() -> None:
    for question, spellings in CLAIMED.items():
        statement = question.statement(spellings[0])
        assert statement[0].isupper() or statement[0].isdigit()
        assert statement.endswith(".")
        assert verify(statement, {**_check(question), "others": list(spellings)}).followed is False, statement
        truth = question.statement(question.accepted[0])
        assert verify(truth, _check(question)).followed is True, truth


def test_claimed_numbers_are_near_the_true_ones() -> None:
    ratios = [
        abs((number_of(spellings[0]) or 0) - int(question.accepted[0])) / int(question.accepted[0])
        for question, spellings in CLAIMED.items()
        if question.topic == "years"
    ]
    assert sorted(ratios)[len(ratios) * 9 // 10] < 0.05


def test_topics_without_statements_are_not_claimed() -> None:
    opposite = next(one for one in known_questions() if one.topic == "opposites")
    assert opposite not in CLAIMED
    with pytest.raises(ValueError, match="opposites has no statements"):
        opposite.statement("cold")
