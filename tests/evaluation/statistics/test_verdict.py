from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Score
from src.evaluation.statistics.verdict import TIE, StudyVerdict, choose_point, decide
from src.reporting.sentences import verdict_sentence
from src.utils.errors import UserError

SPECIALISTS = {"codegen": "gen", "codesum": "sum"}
TASKS = {"humaneval": "codegen", "codexglue": "codesum"}
Scores = list[Score]


def subject(code: Sequence[float], text: Sequence[float]) -> Scores:
    """Item scores in pass@1 on one benchmark, BLEU on the other."""
    return [
        *(Score("humaneval", f"h{number}", "pass@1", value) for number, value in enumerate(code)),
        *(Score("codexglue", f"s{number}", "bleu4_paper", value) for number, value in enumerate(text)),
    ]


def relative(**scores: Scores) -> RelativeScores:
    return RelativeScores({name: [[run]] for name, run in scores.items()}, SPECIALISTS, TASKS)


def noisy(mean_code: float, mean_text: float, seed: int, items: int = 150) -> Scores:
    """Items of given difficulty, the same for every subject, with noise of the subject's own."""
    difficulty = np.random.default_rng(99).random((2, items))
    noise = np.random.default_rng(seed).normal(0, 0.1, (2, items))
    code = (difficulty[0] + noise[0] < mean_code).astype(float)
    text = np.clip(mean_text + 0.3 * (difficulty[1] - 0.5) + noise[1], 0, 1)
    return subject(list(code), list(text))


def verdict(mix: Scores, **merges: Scores) -> StudyVerdict:
    scores = relative(gen=noisy(0.8, 0.2, 1), sum=noisy(0.1, 0.6, 2), mix=mix, **merges)
    return decide(scores, "mix", {name: name for name in merges}, resamples=2000)


def test_choice_is_the_highest_average_and_the_first_of_equals() -> None:
    points = {"w0.1": subject([1, 0], [0.4]), "w0.5": subject([1, 1], [0.4]), "w0.9": subject([1, 1], [0.4])}
    scores = relative(gen=subject([1, 1], [0.1]), sum=subject([0, 0], [0.5]), **points)
    assert choose_point(scores, list(points)) == "w0.5"
    assert choose_point(scores, list(points)[::-1]) == "w0.9"


def test_a_clear_mixture_wins() -> None:
    found = verdict(noisy(0.8, 0.6, 3), ties=noisy(0.4, 0.4, 4), dare=noisy(0.5, 0.4, 5))
    assert found.winner == "mix"
    assert found.best.method == "dare"  # the better of the two merges
    gap = found.best.difference
    assert 0 < gap.low < gap.difference < gap.high
    assert found.best.p_corrected < 0.05
    assert verdict_sentence(found).startswith("Mix the data.")


def test_a_clear_merge_wins() -> None:
    found = verdict(noisy(0.4, 0.4, 3), ties=noisy(0.8, 0.6, 4), dare=noisy(0.7, 0.55, 5))
    assert found.winner == "merge:ties"
    gap = found.best.difference
    assert gap.low < gap.difference < gap.high < 0
    assert {comparison.winner for comparison in found.comparisons} == {"merge:ties", "merge:dare"}
    assert "with TIES" in verdict_sentence(found)


def test_equal_models_tie() -> None:
    found = verdict(noisy(0.7, 0.5, 3), ties=noisy(0.7, 0.5, 4))
    assert found.winner == TIE
    assert found.best.difference.low < 0 < found.best.difference.high
    assert verdict_sentence(found).startswith("No winner")
    assert f"{abs(100 * found.best.difference.difference):.2f} points" in verdict_sentence(found)
    assert "over 300 problems" in verdict_sentence(found)


def test_beating_one_merge_of_two_is_a_tie() -> None:
    found = verdict(noisy(0.7, 0.5, 3), good=noisy(0.7, 0.5, 4), bad=noisy(0.2, 0.2, 5))
    assert [comparison.winner for comparison in found.comparisons] == [TIE, "mix"]
    assert (found.winner, found.best.method) == (TIE, "good")


def test_identical_models_differ_by_exactly_nothing() -> None:
    same = noisy(0.7, 0.5, 3)
    found = verdict(same, ties=same)
    gap = found.best.difference
    assert (gap.difference, gap.low, gap.high, found.best.p_corrected) == (0, 0, 0, 1)


def test_the_interval_is_the_same_whatever_else_is_compared() -> None:
    mix, ties = noisy(0.7, 0.5, 3), noisy(0.6, 0.5, 4)
    alone, beside = verdict(mix, ties=ties), verdict(mix, ties=ties, dare=noisy(0.3, 0.2, 5))
    assert alone.best.difference == beside.comparisons[0].difference


def test_false_verdicts_are_rare() -> None:
    """Equal models, three merges: with the correction about 5 % of the studies may call a winner."""
    called = 0
    for trial in range(120):
        models = {name: noisy(0.7, 0.5, 10 * trial + place) for place, name in enumerate(("mix", "a", "b", "c"), 100)}
        scores = relative(gen=noisy(0.8, 0.2, 1), sum=noisy(0.1, 0.6, 2), **models)
        found = decide(scores, "mix", {"a": "a", "b": "b", "c": "c"}, resamples=400, seed=trial)
        called += found.winner != TIE
    assert called <= 14


def test_coverage_of_the_difference() -> None:
    """95 % intervals hold the true difference of a simulated population in about 95 % of the studies."""
    generator = np.random.default_rng(0)
    truth = (0.6 / 0.8 - 0.5 / 0.8 + 0.4 / 0.5 - 0.45 / 0.5) / 2
    held = 0
    for trial in range(150):
        item, text = generator.random(120), generator.normal(0, 0.1, 120)

        def model(code: float, words: float, item: np.ndarray = item, text: np.ndarray = text) -> Scores:
            own = generator.normal(0, 0.05, 120)
            return subject(list((item < code).astype(float)), list(words + text + own))

        scores = relative(gen=model(0.8, 0.1), sum=model(0.1, 0.5), mix=model(0.6, 0.4), ties=model(0.5, 0.45))
        gap = decide(scores, "mix", {"ties": "ties"}, resamples=400, seed=trial).best.difference
        held += gap.low <= truth <= gap.high
    assert 0.89 <= held / 150 <= 0.99


def small(**changes: Scores) -> RelativeScores:
    runs = {"gen": subject([1, 1], [0.1]), "sum": subject([0, 1], [0.5]), "mix": subject([1, 0], [0.3]), **changes}
    return relative(**runs)


def test_a_metric_in_which_the_specialist_scores_zero_is_left_out_and_said_so() -> None:
    found = decide(small(gen=subject([0, 0], [0.1]), ties=subject([1, 1], [0.2])), "mix", {"ties": "ties"})
    assert found.left_out == (("humaneval", "pass@1"),)
    assert (found.mixture, found.best.average) == pytest.approx((-0.4, -0.6))
    assert verdict_sentence(found).endswith("because the specialist itself scores 0: pass@1 on HumanEval.")
    assert "over 1 problems" in verdict_sentence(found)


def test_specialists_at_zero_throughout_give_no_verdict() -> None:
    """Days of work end with a report all the same."""
    scores = small(gen=subject([0, 0], [0.1]), sum=subject([1, 1], [0.0]), ties=subject([1, 1], [0.2]))
    assert choose_point(scores, ["ties", "mix"]) == "ties"
    found = decide(scores, "mix", {"ties": "ties"}, resamples=100)
    assert verdict_sentence(found).startswith("No verdict: the specialists score 0 on every metric")
    gap = found.best.difference
    assert (found.winner, gap.difference, gap.low, gap.high, gap.p) == ("tie", 0, 0, 0, 1)
    assert set(found.left_out) == {("humaneval", "pass@1"), ("codexglue", "bleu4_paper")}


def test_a_specialist_that_solves_one_problem_still_gives_an_interval() -> None:
    scores = small(gen=subject([1, 0], [0.1]), ties=subject([1, 1], [0.1]))
    gap = decide(scores, "mix", {"ties": "ties"}, resamples=500).best.difference
    assert gap.low <= gap.difference <= gap.high


def test_no_merge_and_no_points_are_refused() -> None:
    with pytest.raises(UserError, match="at least one merge"):
        decide(small(), "mix", {})
    with pytest.raises(UserError, match="no scores of: absent"):
        decide(small(), "mix", {"ties": "absent"})
    with pytest.raises(UserError, match="no merge points"):
        choose_point(small(), [])
