from __future__ import annotations

from pathlib import Path

import pytest

from src.evaluation.statistics.scores import Score, by_metric, read_scores, summarize, write_scores

SCORES = [Score("code", f"c/{number}", "pass@1", value) for number, value in enumerate([1.0, 0.0, 1.0, 0.0])]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    scores = [*SCORES, Score("text", 'a "b", c', "bleu4_paper", 0.1 + 0.2), Score("text", "NA", "bleu4_paper", 1 / 3)]
    write_scores(scores, "mixture", tmp_path / "items.csv")
    lines = (tmp_path / "items.csv").read_text().splitlines()
    assert lines[:2] == ["subject,benchmark,metric,item,value", "mixture,code,pass@1,c/0,1.0"]
    assert read_scores(tmp_path / "items.csv") == scores


def test_one_interval_per_metric() -> None:
    found = summarize(SCORES)["code", "pass@1"]
    assert (found.n, found.mean) == (4, 0.5)
    assert found.low <= 0.5 <= found.high


def test_metrics_of_different_benchmarks_stay_apart() -> None:
    table = by_metric([Score("a", "1", "m", 0.5), Score("b", "1", "m", 0.25)])
    assert table == {("a", "m"): {"1": 0.5}, ("b", "m"): {"1": 0.25}}


def test_two_values_of_one_item_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match=r"two values of pass@1 for c/0 of code"):
        by_metric([*SCORES, SCORES[0]])
