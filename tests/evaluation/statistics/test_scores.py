from __future__ import annotations

from pathlib import Path

import pytest

from src.evaluation.statistics.bootstrap import mean_interval
from src.evaluation.statistics.clusters import cluster_interval
from src.evaluation.statistics.scores import Clusters, Score, by_metric, read_scores, summarize, write_scores
from src.utils.errors import UserError

SCORES = [Score("code", f"c/{number}", "pass@1", value) for number, value in enumerate([1.0, 0.0, 1.0, 0.0])]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    odd = Score("text", 'a "b", c', "bleu4_paper", 0.1 + 0.2, "owner/a, b")
    scores = [*SCORES, odd, Score("text", "NA", "bleu4_paper", 1 / 3)]
    write_scores(scores, "mixture", tmp_path / "items.csv")
    lines = (tmp_path / "items.csv").read_text().splitlines()
    assert lines[:2] == ["subject,benchmark,metric,item,value,cluster", "mixture,code,pass@1,c/0,1.0,"]
    assert read_scores(tmp_path / "items.csv") == scores


def test_a_file_without_clusters_is_read(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("benchmark,metric,item,value\ncode,pass@1,c/0,1.0\n")
    assert read_scores(tmp_path / "items.csv") == SCORES[:1]


def test_intervals_draw_the_clusters_that_scores_name() -> None:
    """Items `a` and `b` alone, `c` and `d` in cluster `a`, which is not item `a`: three clusters."""
    scores = [
        Score("s", name, "m", value, "a" if name in "cd" else "")
        for name, value in zip("abcd", (0, 1, 4, 5), strict=True)
    ]
    assert Clusters(scores).of("s", "abcd") == [("a",), ("b",), "a", "a"]
    found = summarize(scores)["s", "m"]
    assert found == cluster_interval([0, 1, 4, 5], ["x", "y", "z", "z"])
    assert found != mean_interval([0, 1, 4, 5])


def test_an_item_in_two_clusters_is_refused() -> None:
    with pytest.raises(UserError, match=r"s: item a is in cluster y and in x; .*benchmark\.cluster"):
        Clusters([Score("s", "a", "m", 0, "x"), Score("s", "a", "m", 0), Score("s", "a", "m", 0, "y")])


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


HEADER = "subject,benchmark,metric,item,value"


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\nm,b,pass@1,a,0.5x".encode(),
        f"{HEADER}\nm,b,pass@1,a,nan".encode(),
        f"{HEADER}\nm,b,pass@1,a,1e999".encode(),
        f"{HEADER}\nm,b,pass@1,a".encode(),
        f"{HEADER}\nm,b,pass@1,a,0.5\nm,b,pass@1,a,0.5".encode(),
        f"{HEADER}\nm,b,pass@1,\xff,0.5".encode("latin-1"),
        f"{HEADER}\nm,b,pass@1,a,".encode() + bytes(20),
        HEADER.encode() + b"\nm," + b"b" * 200_000 + b",x,y,1",
    ],
)
def test_a_damaged_table_is_one_line_with_its_name(tmp_path, content):
    (tmp_path / "items.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"items\.csv is damaged"):
        read_scores(tmp_path / "items.csv")
