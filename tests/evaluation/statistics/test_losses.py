import numpy as np
import pytest

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.bootstrap import resampled_means
from src.evaluation.statistics.compare import compare
from src.evaluation.statistics.losses import RowLosses
from src.evaluation.statistics.scores import Score, summarize


def losses(sums, tokens, ids=None):
    return RowLosses(ids or [f"row {n}" for n in range(len(sums))], np.array(sums, float), np.array(tokens, float))


def test_the_mean_is_per_answer_token_and_that_of_the_row_values():
    found = losses([2.0, 6.0], [1, 4])  # 8 nats over 5 tokens, 2.5 tokens per row
    assert found.mean == pytest.approx(1.6)
    # 1.6 + (2 - 1.6) / 2.5 and 1.6 + (6 - 6.4) / 2.5
    assert found.values == pytest.approx([1.76, 1.44])
    assert [score.value for score in found.scores("nll_codegen")] == pytest.approx([1.76, 1.44])


def test_equal_losses_per_token_have_no_spread_whatever_the_lengths():
    assert losses([2.0, 20.0, 6.0], [1, 10, 3]).values == pytest.approx([2.0, 2.0, 2.0])


def test_the_interval_is_that_of_the_ratio():
    """Against a bootstrap that draws rows and divides the drawn sums by the drawn tokens."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(5, 80, 200)
    found = losses(tokens * generator.gamma(4, 0.1, 200), tokens)
    drawn = resampled_means(np.stack([found.sums, found.tokens], axis=1), 10_000, seed=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    interval = summarize(found.scores("nll_codegen"))["nll_codegen", "nll"]
    assert interval.mean == pytest.approx(found.mean)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_ids_of_two_sources_may_be_equal():
    names = [score.item for score in losses([1.0, 2.0], [1, 1], ["3", "3"]).scores("nll_codegen")]
    assert names == ["3#0", "3#1"]


def test_lower_is_better():
    generator = np.random.default_rng(0)
    reference = losses(generator.uniform(10, 20, 50), [10] * 50)
    lower = losses(reference.sums - 1, [10] * 50)
    [test] = compare(reference.scores("nll_a"), {"lower": lower.scores("nll_a")})
    assert test.difference.difference == pytest.approx(-0.1)
    assert test.verdict == "better"
    [test] = compare(lower.scores("nll_a"), {"higher": reference.scores("nll_a")})
    assert test.verdict == "worse"


def test_losses_never_enter_the_average():
    scores = [Score("b", "1", "rouge_l", 0.5), Score("b", "1", "nll", 3.0)]
    found = RelativeScores({"s": [[scores]]}, {"a": "s"}, {"b": "a"})
    assert found.metrics == (("b", "rouge_l"),)
