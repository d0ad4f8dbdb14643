from __future__ import annotations

from src.evaluation.statistics.differences import ANSWER_COLUMNS, Tally, answers, differences, tallies
from src.evaluation.statistics.scores import Score


def scores(metrics):
    return [Score("b", item, metric, value) for metric, items in metrics.items() for item, value in items.items()]


def rows(left, right, details=None):
    return differences("a", "b", {"a": scores(left), "b": scores(right)}, details or {"a": {}, "b": {}})


def test_the_largest_difference_of_the_strictest_metric_comes_first():
    left = {"pass@1": {"x": 1, "y": 1, "z": 1}, "pass@1+": {"x": 0.5, "y": 0, "z": 1}}
    right = {"pass@1": {"x": 0, "y": 0, "z": 0}, "pass@1+": {"x": 0.75, "y": 1, "z": 1}}
    found = [(row["item"], row["metric"], row["reference_value"], row["value"]) for row in rows(left, right)]
    assert found == [("y", "pass@1+", 0, 1), ("x", "pass@1+", 0.5, 0.75)]


def test_items_and_benchmarks_of_only_one_run_are_no_differences():
    assert rows({"bleu": {"x": 0.1, "y": 1}}, {"bleu": {"x": 0.1}}) == []
    assert rows({"bleu": {"x": 0.1}}, {"meteor": {"x": 0.2}}) == []


def test_the_answers_shown_are_those_that_differ():
    passed, failed = {"passed": True, "answer": "right"}, {"passed": False, "answer": "wrong", "expected": "3"}
    details = {"a": {("b", "x"): [passed, failed]}, "b": {("b", "x"): [failed, passed]}}
    [row] = rows({"pass@1+": {"x": 0.5}}, {"pass@1+": {"x": 0.75}}, details)
    assert (row["reference_answer"], row["answer"], row["expected"]) == ("wrong", "right", "3")


def test_of_summaries_both_texts_and_the_reference_are_shown():
    texts = {name: {("b", "x"): [{"answer": f"by {name}", "expected": "Adds."}]} for name in "ab"}
    [row] = rows({"bleu": {"x": 0.5}}, {"bleu": {"x": 0.25}}, texts)
    assert (row["reference_answer"], row["answer"], row["expected"], row["got"]) == ("by a", "by b", "Adds.", "")


def test_tallies_count_what_both_scored():
    left = {"pass@1+": {"x": 1, "y": 0, "z": 1, "only here": 0}, "bleu": {"x": 1}}
    right = {"pass@1+": {"x": 0, "y": 1, "z": 1}}
    [tally] = tallies("a", "b", {"a": scores(left), "b": scores(right)})
    assert tally == Tally("b", "b", "pass@1+", items=3, better=1, worse=1)


def test_a_lower_loss_is_better():
    left, right = {"nll": {"x": 1.5, "y": 1.0}}, {"nll": {"x": 0.5, "y": 2.0}}
    pairs = {"a": scores(left), "b": scores({"nll": right["nll"] | {"z": 3.0}})}
    [tally] = tallies("a", "b", pairs)
    assert (tally.items, tally.better, tally.worse) == (2, 1, 1)
    assert [row["item"] for row in answers("b", pairs["b"], {})] == ["z", "y", "x"]  # the worst first


def test_the_answers_of_one_run_come_with_a_failed_one_first():
    values = {"pass@1": {"x": 1, "y": 1}, "pass@1+": {"x": 1, "y": 0.5}}
    passed, failed = {"passed": True, "answer": "right"}, {"passed": False, "answer": "wrong", "detail": "timeout"}
    found = answers("a", scores(values), {("b", "y"): [passed, failed]})
    assert [(row["item"], row["value"], row["answer"], row["got"]) for row in found] == [
        ("y", 0.5, "wrong", "timeout"),
        ("x", 1, "", ""),
    ]
    assert tuple(found[0]) == ANSWER_COLUMNS
