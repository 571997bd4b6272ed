"""The sentence about each behaviour follows its rule, for what tells, what does not, and what cannot be known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foretell.showing.behaviour_sentences import Finding, findings, from_token_text
from foretell.showing.overview import Measured, Overview, OverviewRow, SignalCell, overview
from foretell.showing.report_data import ReportData


def cell(
    signal: str, verdict: str, gain: float | None = 0.1, from_token: int | None = None, why: str = ""
) -> SignalCell:
    ends = Measured() if gain is None else Measured(gain, gain - 0.05, gain + 0.05)
    area = Measured(0.7, 0.6, 0.8)
    return SignalCell(signal, verdict, why, area, ends, 0.02, 0.66, from_token, "", (f"verdicts[signal={signal}]",))


def row(
    *cells: SignalCell,
    dataset: str = "questions",
    behaviour: str | None = "answered correctly",
    words: int | None = None,
    counted: int | None = 40,
) -> OverviewRow:
    known = Measured(0.61)
    return OverviewRow(dataset, behaviour, 120, 48, cells, "all baselines", known, True, 40, counted, words)


def say(*rows: OverviewRow) -> Finding:
    (found,) = findings(Overview(rows, (), timed=True))
    return found


def test_what_predicts_comes_with_how_much_how_early_and_how_surely() -> None:
    found = say(row(cell("attention", "no signal found", 0.01), cell("hidden states", "signal", 0.1, from_token=8)))
    assert found.title == "Answered correctly"
    assert found.outcome == "tells"
    assert found.text == (
        "questions 48 of 120 (40\N{NO-BREAK SPACE}%). Hidden states tell it: AUC 0.70 [0.60, 0.80], "
        "+0.10 [0.05, 0.15] over all baselines (AUC 0.61), from token 8 on."
    )
    assert found.sources == ("verdicts[signal=hidden states]",)


def test_the_largest_increment_leads_and_an_earlier_signal_says_how_early() -> None:
    lead, earlier = cell("activity", "weak signal", 0.2, 8), cell("all signals", "signal", 0.1, 4)
    later = cell("attention", "signal", 0.05, 16)
    text = say(row(later, lead, earlier)).text
    assert "Activity tells it weakly" in text
    assert text.endswith("from token 8 on; also attention and all signals from token 4 on.")


def test_a_null_result_is_said_as_plainly() -> None:
    found = say(row(cell("attention", "no signal found", -0.02), cell("confidence", "no signal found", 0.01)))
    assert found.outcome == "nothing"
    assert (
        "Nothing inside is shown to tell it beyond all baselines (AUC 0.61): the largest increment, of confidence, is "
        "+0.01 [−0.04, 0.06], p 0.020; an AUC below 0.66 could go undetected." in found.text
    )


@pytest.mark.parametrize(
    ("words", "counted", "said"),
    [
        (None, 40, None),
        (4, 2, "The words of the answer alone tell it from token 4 on, so only what is known before counts."),
        (0, None, "The words of the prompt alone tell it, so no number here is about foretelling."),
    ],
)
@pytest.mark.parametrize("verdict", ["signal", "no signal found"])
def test_words_that_predict_by_themselves_are_named(
    words: int | None, counted: int | None, said: str | None, verdict: str
) -> None:
    text = say(row(cell("attention", verdict), words=words, counted=counted)).text
    assert ("words" in text) == (said is not None)
    assert said is None or text.endswith(said)


def test_words_that_predict_several_datasets_from_different_tokens_on_are_named_with_each() -> None:
    tokens = {"alpaca": 16, "flan": 32, "sharegpt": 16, "other": None}
    rows = [row(cell("attention", "no signal found"), dataset=name, words=words) for name, words in tokens.items()]
    said = (
        " The words of the answer alone tell it from token 16 (alpaca, sharegpt) and token 32 (flan) on, so only what "
        "is known before counts."
    )
    assert say(*rows).text.endswith(said)
    assert "words" not in say(rows[-1], replace(rows[-1], dataset="more", n_whole=None, n_counted=4)).text


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        (0, "Judged before the first token of each answer."),
        (1, "Judged in the first token of each answer."),
        (4, "Judged in the first 4 tokens of each answer."),
    ],
)
@pytest.mark.parametrize("verdict", ["signal", "no signal found"])
def test_a_study_of_first_tokens_says_so_once(counted: int, said: str, verdict: str) -> None:
    rows = [replace(row(cell("attention", verdict), dataset=name, counted=counted), n_whole=None) for name in "ab"]
    assert say(rows[0]).text.endswith(said)
    assert say(*rows).text.count(said) == (2 if verdict == "signal" else 1)


def test_too_few_data_are_no_null_result() -> None:
    found = say(row(cell("attention", "not enough data", None, why="3 groups have label 1; each needs 10.")))
    assert found.outcome == "unknown"
    assert found.text.endswith("No conclusion: 3 groups have label 1; each needs 10.")
    assert say(row()).text.endswith("No conclusion: no signal was tested.")
    assert say(row(cell("attention", "not enough data", 0.0, why="one class"))).outcome == "unknown"


def test_datasets_of_one_behaviour_share_a_sentence() -> None:
    quiet = [row(cell("attention", "no signal found", gain), dataset=name) for name, gain in (("a", 0.0), ("b", 0.03))]
    assert "the largest increment, of attention in b, is +0.03" in say(*quiet).text
    mixed = say(*quiet, row(cell("activity", "signal"), dataset="c"), row(dataset="d"))
    assert mixed.outcome == "tells"
    order = [mixed.text.index(words) for words in ("In c: Activity tells it", "In a and b: Nothing", "In d: No")]
    assert order == sorted(order)


def test_pooled_datasets_speak_for_their_behaviour() -> None:
    text = say(row(dataset="a"), row(dataset="b"), row(cell("activity", "signal"), dataset="all")).text
    assert text.startswith("all 48 of 120")


def test_without_a_behaviour_the_label_is_named() -> None:
    found = say(row(cell("attention", "signal"), behaviour=None, dataset="my.csv"))
    assert found.title == "my.csv"
    assert found.text.startswith("label 1 in 48 of 120")


@pytest.mark.parametrize("n_generated", [0, 1, 40, None])
def test_how_early_is_put_in_words(n_generated: int | None) -> None:
    words: dict[int | None, str] = {
        0: "before the first token",
        1: "from token 1 on",
        40: "only with the whole answer",
        None: "from no token on for certain",
    }
    assert from_token_text(n_generated, 40) == words[n_generated]


def test_every_behaviour_of_a_study_has_one_finding(signal_data: ReportData, data: ReportData) -> None:
    titles = [one.title for one in findings(overview(signal_data))]
    assert titles == [
        "Followed the instruction",
        "Answered correctly",
        "Gave in to a false claim",
        "Said something false",
    ]
    assert [one.outcome for one in findings(overview(signal_data))] == ["nothing", "tells", "tells", "unknown"]
    assert [one.title for one in findings(overview(data))] == ["alpaca", "flan", "sharegpt"]
    assert findings(overview(replace(data, tables={}))) == ()
