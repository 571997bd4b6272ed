"""The verifiers against the strict rules of IFEval, on its 541 prompts and a strong model's answers to them.

The rules are written down here from their description in the paper (Zhou et al. 2023, arXiv:2311.07911). Where a verdict
differs, the docstring of the verifier says so and why; the number of such answers is fixed below. Two parts need a
library of their own and are left out: the language of the answer (for the rules of case) and the Punkt tokenizer (for
the number of sentences).
"""

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
ANSWERS = "input_response_data_gpt4_20231107_145030.jsonl"

Case = tuple[dict[str, Any], Callable[[str], bool]]


def _found(pattern: str, answer: str) -> int:
    return sum(1 for _ in re.finditer(pattern, answer, re.IGNORECASE))


def _json(answer: str) -> bool:
    text = re.sub(r"\A```(?:json|Json|JSON)?", "", answer.strip())
    try:
        json.loads(text.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _between_asterisks(answer: str, count: int) -> bool:
    parts = [part.strip() for part in answer.split("***")]
    return "" not in parts[1:-1] and len([part for part in parts if part]) == count


def _relation(relation: str, found: int, count: int) -> bool:
    return found >= count if relation == "at least" else found < count


def _limit(relation: str, count: int) -> dict[str, Any]:
    if relation == "at least":
        return {"name": "min_words", "count": count}
    return {"name": "max_words", "count": count - 1}


def _words_case(instruction: str, arguments: dict[str, Any]) -> Case | None:
    match instruction:
        case "length_constraints:number_words":
            relation, count = arguments["relation"], arguments["num_words"]
            return _limit(relation, count), lambda a: _relation(relation, len(re.findall(r"\w+", a)), count)
        case "keywords:existence":
            wanted = arguments["keywords"]
            return {"name": "includes", "words": wanted}, lambda a: all(_found(word, a) for word in wanted)
        case "keywords:forbidden_words":
            refused = arguments["forbidden_words"]
            return (
                {"name": "excludes", "words": refused},
                lambda a: not any(_found(rf"\b{word}\b", a) for word in refused),
            )
        case "keywords:frequency" if arguments["relation"] == "at least":
            word, times = arguments["keyword"], arguments["frequency"]
            return {"name": "word_frequency", "word": word, "count": times}, lambda a: _found(word, a) >= times
        case "keywords:letter_frequency" if arguments["let_relation"] == "less than" and arguments["let_frequency"] == 1:
            letter = arguments["letter"].lower()
            return {"name": "avoids_letter", "letter": letter}, lambda a: letter not in a.lower()
        case "change_case:english_lowercase":
            return {"name": "all_lower"}, str.islower
        case "change_case:english_capital":
            return {"name": "all_upper"}, str.isupper
    return None


def _forms_case(instruction: str, arguments: dict[str, Any]) -> Case | None:
    match instruction:
        case "punctuation:no_comma":
            return {"name": "no_commas"}, lambda a: "," not in a
        case "detectable_format:number_bullet_lists":
            items = arguments["num_bullets"]
            return (
                {"name": "bullet_points", "count": items},
                lambda a: len(re.findall(r"(?m)^\s*(?:\*[^*]|-).*$", a)) == items,
            )
        case "length_constraints:number_paragraphs":
            parts = arguments["num_paragraphs"]
            return (
                {"name": "paragraphs", "count": parts, "divider": "***"},
                lambda a: _between_asterisks(a, parts),
            )
        case "detectable_format:json_format":
            return {"name": "json_value"}, _json
        case "detectable_format:title":
            return (
                {"name": "title_in_brackets", "bracket": "<<"},
                lambda a: any(title.strip("<> ") for title in re.findall(r"<<[^\n]+>>", a)),
            )
        case "startend:quotation":
            return {"name": "quoted"}, lambda a: bool(re.fullmatch(r'(?s)".*"', a.strip()))
        case "startend:end_checker":
            ending = arguments["end_phrase"].strip().lower()
            return (
                {"name": "ends_with", "text": ending},
                lambda a: a.strip().strip('"').lower().endswith(ending),
            )
    return None


def disagreements(folder: Path) -> tuple[Counter[str], list[tuple[str, bool | None, str, str]]]:
    """Return how many answers of each kind were judged, and those on which the verdicts differ."""
    prompts = [json.loads(line) for line in (folder / "input_data.jsonl").read_text("utf-8").splitlines()]
    entries = [json.loads(line) for line in (folder / ANSWERS).read_text("utf-8").splitlines()]
    answers = {entry["prompt"]: entry["response"] for entry in entries}
    judged: Counter[str] = Counter()
    differing = []
    for prompt in prompts:
        answer = answers[prompt["prompt"]]
        for instruction, arguments in zip(prompt["instruction_id_list"], prompt["kwargs"], strict=True):
            case = _words_case(instruction, arguments) or _forms_case(instruction, arguments)
            if case is None or not answer.strip():
                continue
            specification, rule = case
            verdict = verify(answer, specification)
            judged[instruction] += 1
            if verdict.followed is not rule(answer):
                differing.append((instruction, verdict.followed, verdict.reason, answer))
    return judged, differing
