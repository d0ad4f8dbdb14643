from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.evaluation.statistics.bootstrap import mcnemar
from src.evaluation.statistics.compare import compare
from src.evaluation.statistics.scores import Score, read_scores
from src.utils.errors import UserError


def scores(metric: str, values: list[float]) -> list[Score]:
    return [Score("b", f"i{number}", metric, float(value)) for number, value in enumerate(values)]


def test_pass_rates_are_tested_exactly_and_the_rest_by_bootstrap() -> None:
    base = scores("pass@1", [1] * 10 + [0] * 20) + scores("bleu", [0.1] * 30)
    other = scores("pass@1", [1] * 25 + [0] * 5) + scores("bleu", [0.1] * 30)
    [rate, bleu] = compare(base, {"other": other})
    assert rate.mcnemar == rate.p_corrected == mcnemar([True] * 25 + [False] * 5, [True] * 10 + [False] * 20)
    assert rate.verdict == "better"
    assert rate.difference.difference == pytest.approx(0.5)
    assert (bleu.mcnemar, bleu.verdict, bleu.difference.p) == (None, "tie", 1)


def test_a_grid_is_corrected_within_each_metric() -> None:
    generator = np.random.default_rng(0)
    base = scores("bleu", list(generator.random(60)))
    grid = {f"w{place}": scores("bleu", list(generator.random(60) + 0.02 * place)) for place in range(9)}
    tests = compare(base, grid, resamples=500)
    assert [test.subject for test in tests] == list(grid)
    raw = sorted(test.difference.p for test in tests)
    assert min(test.p_corrected for test in tests) == pytest.approx(min(1.0, 9 * raw[0]))
    assert all(test.p_corrected >= test.difference.p for test in tests)


def test_worse_is_distinguished_from_better() -> None:
    base, other = scores("m", [0.9, 0.8] * 20), scores("m", [0.1, 0.2] * 20)
    assert compare(base, {"other": other})[0].verdict == "worse"
    assert compare(other, {"base": base})[0].verdict == "better"


def test_differences_draw_clusters() -> None:
    """Every item five times in a cluster of its own says no more than the item once."""
    generator = np.random.default_rng(1)
    pairs = [(float(a), float(b)) for a, b in generator.integers(0, 2, (40, 2))]

    def run(side: int, copies: int) -> list[Score]:
        return [
            Score("b", f"{n}/{copy}", "pass@1", pair[side], f"c{n}")
            for n, pair in enumerate(pairs)
            for copy in range(copies)
        ]

    [once], [copied] = (compare(run(0, copies), {"x": run(1, copies)}) for copies in (1, 5))
    assert (copied.difference.n, copied.clusters, once.clusters) == (200, 40, 40)
    assert once.mcnemar is not None
    assert copied.mcnemar is None
    assert (copied.difference.low, copied.difference.high) == pytest.approx((once.difference.low, once.difference.high))
    assert copied.p_corrected == copied.difference.p == pytest.approx(once.difference.p)
    assert copied.row()["clusters"] == 40


def test_other_clusters_are_refused() -> None:
    one, other = ([Score("b", "i", "m", 0.0, name)] for name in ("c", "d"))
    with pytest.raises(UserError, match=r"b: item i is in cluster d and in c; .*benchmark\.cluster"):
        compare(one, {"other": other})


def test_other_items_are_refused() -> None:
    with pytest.raises(UserError, match="other was scored on different items or metrics"):
        compare(scores("m", [1, 0]), {"other": scores("m", [1])})


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_scores(tmp_path / "absent.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"expected columns benchmark, metric, item, value, got \['a', 'b'\]"):
        read_scores(tmp_path / "x.csv")
