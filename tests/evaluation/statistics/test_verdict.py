from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Score
from src.evaluation.statistics.verdict import EQUIVALENT, UNDECIDED, StudyVerdict, choose_point, decide
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


def verdict(mix: Scores, margin: float = 0.02, **merges: Scores) -> StudyVerdict:
    """The first merge is the champion."""
    scores = relative(gen=noisy(0.8, 0.2, 1), sum=noisy(0.1, 0.6, 2), mix=mix, **merges)
    return decide(scores, "mix", {name: name for name in merges}, next(iter(merges)), margin, resamples=2000)


def test_choice_is_the_highest_average_and_the_first_of_equals() -> None:
    points = {"w0.1": subject([1, 0], [0.4]), "w0.5": subject([1, 1], [0.4]), "w0.9": subject([1, 1], [0.4])}
    scores = relative(gen=subject([1, 1], [0.1]), sum=subject([0, 0], [0.5]), **points)
    assert choose_point(scores, list(points)) == "w0.5"
    assert choose_point(scores, list(points)[::-1]) == "w0.9"


def test_a_clear_mixture_wins() -> None:
    found = verdict(noisy(0.8, 0.6, 3), dare=noisy(0.5, 0.4, 5), ties=noisy(0.4, 0.4, 4))
    assert (found.outcome, found.merge.subject, found.method) == ("mix", "dare", "dare")
    assert 0 < found.difference.low < found.difference.difference < found.difference.high
    assert found.difference.p < 0.05
    assert found.difference.difference == pytest.approx(found.mixture.average - found.merge.average)


def test_rows_of_one_repository_are_not_independent() -> None:
    """Five copies of every row in a repository give the verdict of the rows, not one that is surer of them."""

    def copied(run: Scores, repository: str) -> Scores:
        text = [score for score in run if score.benchmark == "codexglue"]
        more = [replace(one, item=f"{one.item}/{n}", cluster=repository and one.item) for one in text for n in range(5)]
        return [score for score in run if score.benchmark == "humaneval"] + more

    runs = {"mix": noisy(0.7, 0.55, 3), "dare": noisy(0.7, 0.5, 5)}
    specialists = {"gen": noisy(0.8, 0.2, 1), "sum": noisy(0.1, 0.6, 2)}

    def decided(repository: str | None) -> StudyVerdict:
        scores = specialists | runs
        if repository is not None:
            scores = {name: copied(run, repository) for name, run in scores.items()}
        return decide(relative(**scores), "mix", {"dare": "dare"}, resamples=2000)

    once, clustered, naive = decided(None), decided("repo"), decided("")
    assert clustered.difference.difference == pytest.approx(once.difference.difference)
    assert (clustered.difference.low, clustered.difference.high) == pytest.approx(
        (once.difference.low, once.difference.high)
    )
    assert naive.difference.high - naive.difference.low < 0.95 * (once.difference.high - once.difference.low)


def test_a_clear_merge_wins_though_a_secondary_merge_loses() -> None:
    found = verdict(noisy(0.6, 0.5, 3), ties=noisy(0.8, 0.6, 4), dare=noisy(0.3, 0.2, 5))
    assert found.outcome == "merge"
    assert found.difference.high < 0
    assert [(row.method, row.winner) for row in found.comparisons] == [("dare", "mix")]


def test_a_secondary_merge_that_beats_the_mixture_on_test_data_decides_nothing() -> None:
    """The fault of the rule before: any merge that beats the mixture won, chosen on the test data among all."""
    found = verdict(noisy(0.7, 0.5, 3), champion=noisy(0.7, 0.5, 4), other=noisy(0.9, 0.7, 5))
    assert [row.winner for row in found.comparisons] == ["merge"]
    assert found.outcome == UNDECIDED


def test_the_rule_is_the_same_for_both_sides() -> None:
    """Mixture and merge change places: the interval is mirrored, and so is the verdict."""
    good, bad = noisy(0.8, 0.6, 3), noisy(0.6, 0.5, 4)
    found, mirrored = verdict(good, ties=bad), verdict(bad, ties=good)
    assert (found.outcome, mirrored.outcome) == ("mix", "merge")
    ends = found.difference.low, found.difference.high, found.difference.p
    assert ends == pytest.approx((-mirrored.difference.high, -mirrored.difference.low, mirrored.difference.p), rel=1e-6)


def test_secondary_comparisons_alone_are_corrected() -> None:
    found = verdict(noisy(0.7, 0.5, 3), a=noisy(0.68, 0.5, 4), b=noisy(0.6, 0.5, 5), c=noisy(0.62, 0.5, 6))
    smallest = min(row.difference.p for row in found.comparisons)
    assert min(row.p_corrected for row in found.comparisons) == pytest.approx(2 * smallest)
    alone = verdict(noisy(0.7, 0.5, 3), a=noisy(0.68, 0.5, 4))
    assert found.difference == alone.difference  # whatever else is compared


def test_equivalent_within_the_margin_and_undecided_beyond_it() -> None:
    """The same models: the 90% interval reaches some points to either side of zero."""
    models = {"mix": noisy(0.7, 0.5, 3), "ties": noisy(0.7, 0.5, 4)}
    assert verdict(margin=0.02, **models).outcome == UNDECIDED
    wide = verdict(margin=0.3, **models)
    assert wide.outcome == EQUIVALENT
    reach = max(map(abs, wide.equivalence))
    assert verdict(margin=reach * 1.001, **models).outcome == EQUIVALENT
    assert verdict(margin=reach * 0.999, **models).outcome == UNDECIDED
    low, high = wide.equivalence
    assert wide.difference.low < low < high < wide.difference.high


def test_a_significant_difference_within_the_margin_is_equivalent() -> None:
    found = verdict(noisy(0.8, 0.6, 3), margin=0.9, ties=noisy(0.6, 0.5, 4))
    assert found.difference.low > 0
    assert found.outcome == EQUIVALENT


def test_identical_models_differ_by_exactly_nothing() -> None:
    same = noisy(0.7, 0.5, 3)
    found = verdict(same, ties=same)
    gap = found.difference
    assert (gap.difference, gap.low, gap.high, gap.p, found.outcome) == (0, 0, 0, 1, EQUIVALENT)
    assert verdict(same, margin=0, ties=same).outcome == UNDECIDED


def test_scores_themselves_are_compared_with_the_weights_of_the_average() -> None:
    """pass@1 0.5 against 1.0, BLEU 0.3 against 0.2: half of -0.5 and +0.1."""
    scores = small(mix=subject([1, 0], [0.3]), ties=subject([1, 1], [0.2]))
    assert decide(scores, "mix", {"ties": "ties"}, resamples=50).points.difference == pytest.approx(-0.2)


def test_the_metric_that_decides_is_named() -> None:
    """The mixture is far ahead in pass@1 and a little behind in both metrics of summaries."""

    def texts(code: float, text: float, seed: int) -> Scores:
        found = noisy(code, text, seed)
        return found + [Score("codexglue", s.item, "rouge_l", s.value) for s in found if s.benchmark == "codexglue"]

    own = {"gen": texts(0.8, 0.2, 1), "sum": texts(0.1, 0.6, 2)}
    models = {"mix": texts(0.8, 0.5, 3), "ties": texts(0.3, 0.52, 4)}
    found = decide(relative(**own, **models), "mix", {"ties": "ties"}, resamples=1000)
    assert found.outcome == "mix"
    assert [one.metric[1] for one in found.without] == ["bleu4_paper", "rouge_l"]  # pass@1 is its task's only one
    for one in found.without:
        assert one.difference.difference == pytest.approx(found.difference.difference)  # the other takes its weight


def test_over_training_seeds_the_verdict_needs_them_to_agree() -> None:
    """The same scores in every seed decide; with seeds that contradict each other the interval holds zero."""
    good, bad = noisy(0.8, 0.6, 3), noisy(0.4, 0.4, 4)
    own = {"gen": [[noisy(0.8, 0.2, 1)]] * 3, "sum": [[noisy(0.1, 0.6, 2)]] * 3}
    agree = {"mix": [[good]] * 3, "ties": [[bad]] * 3}
    differ = {"mix": [[good], [bad], [good]], "ties": [[bad], [good], [bad]]}
    found, torn = (
        decide(RelativeScores(own | runs, SPECIALISTS, TASKS), "mix", {"ties": "ties"}, resamples=500)
        for runs in (agree, differ)
    )
    assert (found.outcome, found.variation.deviation, found.training_seeds) == ("mix", 0, 3)
    assert torn.outcome == UNDECIDED
    assert torn.variation.runs == "training seed"
    assert torn.variation.by_run == pytest.approx([found.variation.by_run[0] * sign for sign in (1, -1, 1)])
    assert torn.power.runs is None or torn.power.runs > 3


def test_mask_seeds_count_as_runs_where_there_is_one_training_seed() -> None:
    mask_seeds = [noisy(0.7, 0.5, seed) for seed in (4, 5, 6)]
    scores = {"gen": [[noisy(0.8, 0.2, 1)]], "sum": [[noisy(0.1, 0.6, 2)]], "mix": [[noisy(0.7, 0.5, 3)]]}
    merges = {"dare": [mask_seeds], "ties": [[noisy(0.6, 0.5, 7)]]}
    relative_scores = RelativeScores(scores | merges, SPECIALISTS, TASKS)
    found = decide(relative_scores, "mix", {name: name for name in merges}, "dare", resamples=500)
    assert (found.variation.runs, len(found.variation.by_run)) == ("mask seed", 3)
    assert np.mean(found.variation.by_run) == pytest.approx(found.difference.difference)
    other = decide(relative_scores, "mix", {name: name for name in merges}, "ties", resamples=500)
    assert (other.variation.runs, len(other.variation.by_run)) == ("", 1)


def small(**changes: Scores) -> RelativeScores:
    runs = {"gen": subject([1, 1], [0.1]), "sum": subject([0, 1], [0.5]), "mix": subject([1, 0], [0.3]), **changes}
    return relative(**runs)


def test_a_metric_in_which_the_specialist_scores_zero_is_left_out_and_said_so() -> None:
    found = decide(small(gen=subject([0, 0], [0.1]), ties=subject([1, 1], [0.2])), "mix", {"ties": "ties"})
    assert found.left_out == (("humaneval", "pass@1"),)
    assert (found.mixture.average, found.merge.average) == pytest.approx((-0.4, -0.6))
    assert found.difference.n == 1


def test_specialists_at_zero_throughout_give_no_verdict() -> None:
    """Days of work end with a report all the same."""
    scores = small(gen=subject([0, 0], [0.1]), sum=subject([1, 1], [0.0]), ties=subject([1, 1], [0.2]))
    assert choose_point(scores, ["ties", "mix"]) == "ties"
    found = decide(scores, "mix", {"ties": "ties"}, resamples=100)
    gap = found.difference
    assert (found.comparable, found.outcome, gap.difference, gap.low, gap.high, gap.p) == (False, UNDECIDED, 0, 0, 0, 1)
    assert set(found.left_out) == {("humaneval", "pass@1"), ("codexglue", "bleu4_paper")}


def test_a_specialist_that_solves_one_problem_still_gives_an_interval() -> None:
    scores = small(gen=subject([1, 0], [0.1]), ties=subject([1, 1], [0.1]))
    gap = decide(scores, "mix", {"ties": "ties"}, resamples=500).difference
    assert gap.low <= gap.difference <= gap.high


def test_no_merge_and_no_points_are_refused() -> None:
    with pytest.raises(UserError, match="at least one merge"):
        decide(small(), "mix", {})
    with pytest.raises(UserError, match="no scores of: absent"):
        decide(small(), "mix", {"ties": "absent"})
    with pytest.raises(UserError, match="no merge points"):
        choose_point(small(), [])
