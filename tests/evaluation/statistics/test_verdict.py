from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from src.evaluation.statistics.scores import ItemScore, summarize
from src.evaluation.statistics.verdict import TIE, choose_point, decide, study_averages
from src.utils.errors import UserError

SPECIALISTS = {"codegen": "gen", "codesum": "sum"}
TASKS = {"humaneval": "codegen", "codexglue": "codesum"}
Scores = dict[str, list[ItemScore]]


def subject(code: Sequence[float], text: Sequence[float], more_text: Sequence[float] | None = None) -> Scores:
    """Item scores in pass@1 on one benchmark, BLEU (and ROUGE) on the other."""
    scores = {
        "humaneval": [ItemScore(f"h{number}", "pass@1", value) for number, value in enumerate(code)],
        "codexglue": [ItemScore(f"s{number}", "bleu4_paper", value) for number, value in enumerate(text)],
    }
    if more_text is not None:
        scores["codexglue"] += [ItemScore(f"s{number}", "rouge_l", value) for number, value in enumerate(more_text)]
    return scores


def noisy(mean_code: float, mean_text: float, seed: int, items: int = 150) -> Scores:
    """Items of given difficulty, the same for every subject, with noise of the subject's own."""
    difficulty = np.random.default_rng(99).random((2, items))
    noise = np.random.default_rng(seed).normal(0, 0.1, (2, items))
    code = (difficulty[0] + noise[0] < mean_code).astype(float)
    text = np.clip(mean_text + 0.3 * (difficulty[1] - 0.5) + noise[1], 0, 1)
    return subject(list(code), list(text))


def verdict(mix: Scores, **merges: Scores):  # type: ignore[no-untyped-def]
    scores = {"gen": noisy(0.8, 0.2, 1), "sum": noisy(0.1, 0.6, 2), "mix": mix, **merges}
    return decide(scores, "mix", {name: name for name in merges}, SPECIALISTS, TASKS, resamples=2000)


def test_average_by_hand() -> None:
    scores = {
        "gen": subject([1, 1, 0, 0], [0.1, 0.1], [0.1, 0.1]),
        "sum": subject([0, 0, 0, 0], [0.2, 0.6], [0.5, 0.5]),
        "mix": subject([1, 0, 0, 0], [0.4, 0.6], [0.5, 0.4]),
    }
    averages = study_averages(scores, SPECIALISTS, TASKS)
    assert averages["mix"].changes == pytest.approx(
        {("humaneval", "pass@1"): -0.5, ("codexglue", "bleu4_paper"): 0.25, ("codexglue", "rouge_l"): -0.1}
    )
    assert averages["mix"].mean == pytest.approx((-0.5 + (0.25 - 0.1) / 2) / 2)  # tasks count alike
    assert averages["gen"].changes["humaneval", "pass@1"] == 0
    assert averages["sum"].changes["humaneval", "pass@1"] == -1


def test_average_of_a_printed_row_of_the_study() -> None:
    """Table 5 of arXiv 2601.21115: Qwen 1.5B, Linear 0.3/0.7, printed -7.19 %."""
    specialists = [0.756, 0.707, 0.759, 0.656, 0.0495, 0.3213, 0.3279, 0.3091]
    linear = [0.671, 0.598, 0.749, 0.651, 0.0434, 0.306, 0.3086, 0.2912]
    tasks = {f"benchmark{number}": "codegen" if number < 4 else "codesum" for number in range(8)}

    def row(values: Sequence[float]) -> Scores:
        return {name: [ItemScore("all", "m", value)] for name, value in zip(tasks, values, strict=True)}

    both = {"codegen": "sft", "codesum": "sft"}
    average = study_averages({"sft": row(specialists), "linear": row(linear)}, both, tasks)["linear"]
    assert 100 * average.mean == pytest.approx(-7.19, abs=0.01)


def test_metrics_can_be_left_out() -> None:
    scores = {"gen": subject([1, 1], [0.1], [0.1]), "sum": subject([0, 1], [0.2], [0.5])}
    averages = study_averages(scores, SPECIALISTS, TASKS, metrics=["pass@1", "rouge_l"])
    assert set(averages["gen"].changes) == {("humaneval", "pass@1"), ("codexglue", "rouge_l")}


def test_choice_is_the_highest_average_and_the_first_of_equals() -> None:
    scores = {
        "gen": subject([1, 1], [0.1]),
        "sum": subject([0, 0], [0.5]),
        "w0.1": subject([1, 0], [0.4]),
        "w0.5": subject([1, 1], [0.4]),
        "w0.9": subject([1, 1], [0.4]),
    }
    points = ["w0.1", "w0.5", "w0.9"]
    assert choose_point(scores, points, SPECIALISTS, TASKS) == "w0.5"
    assert choose_point(scores, points[::-1], SPECIALISTS, TASKS) == "w0.9"


def test_a_clear_mixture_wins() -> None:
    found = verdict(noisy(0.8, 0.6, 3), ties=noisy(0.4, 0.4, 4), dare=noisy(0.5, 0.4, 5))
    assert found.winner == "mix"
    assert found.method == "dare"  # the better of the two merges
    assert 0 < found.low < found.difference < found.high
    assert found.p < 0.05
    assert found.sentence.startswith("Mix the data.")


def test_a_clear_merge_wins() -> None:
    found = verdict(noisy(0.4, 0.4, 3), ties=noisy(0.8, 0.6, 4), dare=noisy(0.7, 0.55, 5))
    assert found.winner == "merge:ties"
    assert found.low < found.difference < found.high < 0
    assert {comparison.winner for comparison in found.comparisons} == {"merge:ties", "merge:dare"}
    assert "with ties" in found.sentence


def test_equal_models_tie() -> None:
    found = verdict(noisy(0.7, 0.5, 3), ties=noisy(0.7, 0.5, 4))
    assert found.winner == TIE
    assert found.low < 0 < found.high
    assert found.sentence.startswith("No winner")
    assert f"{100 * found.difference:+.2f} points" in found.sentence
    assert "over 300 problems" in found.sentence


def test_beating_one_merge_of_two_is_a_tie() -> None:
    found = verdict(noisy(0.7, 0.5, 3), good=noisy(0.7, 0.5, 4), bad=noisy(0.2, 0.2, 5))
    assert [comparison.winner for comparison in found.comparisons] == [TIE, "mix"]
    assert (found.winner, found.method) == (TIE, "good")


def test_identical_models_differ_by_exactly_nothing() -> None:
    same = noisy(0.7, 0.5, 3)
    found = verdict(same, ties=same)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_interval_is_the_same_whatever_else_is_compared() -> None:
    mix, ties = noisy(0.7, 0.5, 3), noisy(0.6, 0.5, 4)
    alone, beside = verdict(mix, ties=ties), verdict(mix, ties=ties, dare=noisy(0.3, 0.2, 5))
    assert (alone.low, alone.high) == (beside.comparisons[0].difference.low, beside.comparisons[0].difference.high)


def test_false_verdicts_are_rare() -> None:
    """Equal models, three merges: with the correction about 5 % of the studies may call a winner."""
    called = 0
    for trial in range(120):
        models = {name: noisy(0.7, 0.5, 10 * trial + place) for place, name in enumerate(("mix", "a", "b", "c"), 100)}
        scores = {"gen": noisy(0.8, 0.2, 1), "sum": noisy(0.1, 0.6, 2), **models}
        found = decide(scores, "mix", {"a": "a", "b": "b", "c": "c"}, SPECIALISTS, TASKS, resamples=400, seed=trial)
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

        scores = {"gen": model(0.8, 0.1), "sum": model(0.1, 0.5), "mix": model(0.6, 0.4), "ties": model(0.5, 0.45)}
        found = decide(scores, "mix", {"ties": "ties"}, SPECIALISTS, TASKS, resamples=400, seed=trial)
        held += found.low <= truth <= found.high
    assert 0.89 <= held / 150 <= 0.99


def broken(**changes: Scores) -> Mapping[str, Scores]:
    return {"gen": subject([1, 1], [0.1]), "sum": subject([0, 1], [0.5]), "mix": subject([1, 0], [0.3]), **changes}


def test_other_items_are_refused() -> None:
    with pytest.raises(UserError, match="ties lacks pass@1 of h1 on humaneval"):
        decide(broken(ties=subject([1], [0.1])), "mix", {"ties": "ties"}, SPECIALISTS, TASKS)


def test_a_missing_benchmark_is_refused() -> None:
    scores = broken(ties={"humaneval": subject([1, 1], [])["humaneval"]})
    with pytest.raises(UserError, match="ties lacks bleu4_paper of s0 on codexglue"):
        decide(scores, "mix", {"ties": "ties"}, SPECIALISTS, TASKS)


def test_a_specialist_without_scores_is_refused() -> None:
    with pytest.raises(UserError, match="codesum: absent"):
        study_averages(broken(), {"codegen": "gen", "codesum": "absent"}, TASKS)
    with pytest.raises(UserError, match="no specialist of task codesum"):
        study_averages(broken(), {"codegen": "gen"}, TASKS)


def test_a_metric_in_which_the_specialist_scores_zero_is_left_out_and_said_so() -> None:
    scores = broken(gen=subject([0, 0], [0.1]), ties=subject([1, 1], [0.2]))
    found = decide(scores, "mix", {"ties": "ties"}, SPECIALISTS, TASKS)
    assert found.left_out == (("humaneval", "pass@1"),)
    assert found.averages["mix"].changes == pytest.approx({("codexglue", "bleu4_paper"): -0.4})
    assert found.sentence.endswith("the specialist itself scores 0 there: pass@1 on humaneval.")
    assert "over 1 problems" in found.sentence


def test_specialists_at_zero_throughout_give_no_verdict() -> None:
    """Days of work end with a report all the same."""
    scores = broken(gen=subject([0, 0], [0.1]), sum=subject([1, 1], [0.0]), ties=subject([1, 1], [0.2]))
    assert choose_point(scores, ["ties", "mix"], SPECIALISTS, TASKS) == "ties"
    found = decide(scores, "mix", {"ties": "ties"}, SPECIALISTS, TASKS, resamples=100)
    assert found.sentence.startswith("No verdict: the specialists score 0 in every metric")
    assert (found.winner, found.difference, found.low, found.high, found.p) == ("tie", 0, 0, 0, 1)
    assert set(found.left_out) == {("humaneval", "pass@1"), ("codexglue", "bleu4_paper")}


def test_a_specialist_that_solves_one_problem_still_gives_an_interval() -> None:
    scores = broken(gen=subject([1, 0], [0.1]), ties=subject([1, 1], [0.1]))
    found = decide(scores, "mix", {"ties": "ties"}, SPECIALISTS, TASKS, resamples=500)
    assert found.low <= found.difference <= found.high


def test_no_merge_and_no_points_are_refused() -> None:
    with pytest.raises(UserError, match="at least one merge"):
        decide(broken(), "mix", {}, SPECIALISTS, TASKS)
    with pytest.raises(UserError, match="no scores of: absent"):
        decide(broken(), "mix", {"ties": "absent"}, SPECIALISTS, TASKS)
    with pytest.raises(UserError, match="no merge points"):
        choose_point(broken(), [], SPECIALISTS, TASKS)


def test_summary_has_one_interval_a_metric() -> None:
    found = summarize(subject([1, 0, 1, 0], [])["humaneval"])
    assert (found["pass@1"].n, found["pass@1"].mean) == (4, 0.5)
    assert found["pass@1"].low <= 0.5 <= found["pass@1"].high
