"""The verifiers on 541 real prompts with verifiable instructions and a strong model's real answers to them."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foretell.labels.verifiers import verify
from tests.optional import no_data

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "ifeval"

Case = tuple[dict[str, Any], Callable[[str], bool]]


def _number(relation: str, low: str, high: str, count: int) -> dict[str, Any]:
    return {"name": low, "count": count} if relation == "at least" else {"name": high, "count": count - 1}


def _length(relation: str, found: int, count: int) -> bool:
    return found >= count if relation == "at least" else found < count


def _whole(word: str, answer: str) -> int:
    """Occurrences of a phrase as whole words, by regular expression instead of by word lists."""
    gap = r"[\W_]+" if " " in word else ""
    pattern = gap.join(map(re.escape, word.split())) if gap else re.escape(word)
    return len(re.findall(rf"(?<!\w){pattern}(?!\w)", answer, flags=re.IGNORECASE))


def _count_words(answer: str) -> int:
    return len(re.findall(r"\w+(?:(?:['’‑‐-]|(?<=\d)[.,:](?=\d))\w+)*", answer))


def _parses(answer: str) -> bool:
    try:
        json.loads(re.sub(r"^```(?:json|JSON)?|```$", "", answer.strip()))
    except ValueError:
        return False
    return True


def adapted(instruction: str, arguments: dict[str, Any]) -> Case | None:  # noqa: C901
    """Return our specification of an instruction and a slow definition of the same thing, or None."""
    match instruction:
        case "punctuation:no_comma":
            return {"name": "no_commas"}, lambda a: not re.search("[,，、،]", a)
        case "change_case:english_lowercase":
            return {"name": "all_lower"}, lambda a: a.islower() and not any(c.isupper() for c in a)
        case "change_case:english_capital":
            return {"name": "all_upper"}, lambda a: a.isupper()
        case "length_constraints:number_words":
            relation, count = arguments["relation"], arguments["num_words"]
            return (
                _number(relation, "min_words", "max_words", count),
                lambda a: _length(relation, _count_words(a), count),
            )
        case "keywords:existence":
            wanted = arguments["keywords"]
            return {"name": "includes", "words": wanted}, lambda a: all(_whole(w, a) for w in wanted)
        case "keywords:forbidden_words":
            refused = arguments["forbidden_words"]
            return {"name": "excludes", "words": refused}, lambda a: not any(_whole(w, a) for w in refused)
        case "keywords:frequency" if arguments["relation"] == "at least":
            word, times = arguments["keyword"], arguments["frequency"]
            return {"name": "word_frequency", "word": word, "count": times}, lambda a: _whole(word, a) >= times
        case "detectable_format:number_bullet_lists":
            bullets = arguments["num_bullets"]
            return (
                {"name": "bullet_points", "count": bullets},
                lambda a: len(re.findall(r"(?m)^\s*(?:[-*•–+]|\d+[.)]) [^\n]*\S", a)) == bullets,
            )
        case "detectable_format:json_format":
            return {"name": "json_value"}, _parses
        case "detectable_format:title":
            return (
                {"name": "title_in_brackets", "bracket": "<<"},
                lambda a: bool(re.match(r"[\s*#]*<<[^>\n]*\w[^>\n]*>>", a)),
            )
        case "startend:quotation":
            return {"name": "quoted"}, lambda a: bool(re.fullmatch(r'(?s)\s*(".+"|“.+”|«.+»)\s*', a))
        case "startend:end_checker":
            phrase = arguments["end_phrase"].strip()
            ending = re.escape(phrase.rstrip(".!?"))
            return {"name": "ends_with", "text": phrase}, lambda a: bool(re.search(rf"(?i){ending}\W*$", a))
    return None


def _records(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    if not path.exists():
        no_data(path.name)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_verdicts_on_real_answers_equal_slow_definitions() -> None:
    prompts = _records("input_data.jsonl")
    answers = {
        entry["prompt"]: entry["response"] for entry in _records("input_response_data_gpt4_20231107_145030.jsonl")
    }
    checked: Counter[str] = Counter()
    followed: Counter[str] = Counter()
    differing = []
    for prompt in prompts:
        answer = answers[prompt["prompt"]]
        for instruction, arguments in zip(prompt["instruction_id_list"], prompt["kwargs"], strict=True):
            case = adapted(instruction, arguments)
            if case is None or not answer.strip():
                continue
            specification, slow = case
            verdict = verify(answer, specification)
            checked[instruction] += 1
            followed[instruction] += verdict.followed is True
            if verdict.followed is not slow(answer):
                differing.append((prompt["key"], instruction, verdict, answer[:60], answer[-60:]))
    assert not differing, differing
    assert len(checked) == 12
    assert min(checked.values()) >= 10
    rate = followed.total() / checked.total()
    assert checked.total() > 350
    assert 0.75 < rate < 0.95, (rate, {name: (followed[name], checked[name]) for name in checked})
    assert followed.total() < checked.total()


@pytest.mark.parametrize("name", ["no_commas", "quoted", "all_upper"])
def test_real_prompts_themselves_are_judged_without_error(name: str) -> None:
    verdicts = [verify(prompt["prompt"], {"name": name}).followed for prompt in _records("input_data.jsonl")]
    assert len(verdicts) == 541
    assert None not in verdicts
    assert verdicts.count(False) > verdicts.count(True)
