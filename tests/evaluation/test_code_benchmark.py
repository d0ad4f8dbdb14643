from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from src.evaluation.code_benchmark import CodeBenchmark, pass_scores
from src.evaluation.samples import Decoding, Sample
from src.evaluation.scores import ItemScore, by_metric
from src.utils.errors import UserError

PROBLEMS = [{"task_id": "P/0", "prompt": "def f():\n"}, {"task_id": "P/1", "prompt": "def g():\n"}]


@dataclass(frozen=True)
class Fate:
    base: str
    plus: str


def scripted(problems: Sequence[dict[str, Any]], samples: Sequence[Sample]) -> list[Fate]:
    """The completion says what becomes of it: `base plus`."""
    assert list(problems) == PROBLEMS
    return [Fate(*sample.completion.split()) for sample in samples]


def benchmark(**options: Any) -> CodeBenchmark:
    return CodeBenchmark("p", lambda split: PROBLEMS, options.pop("decoding", Decoding()), **options)


def test_plus_needs_base_and_plus() -> None:
    samples = [Sample("P/0", "", "pass fail"), Sample("P/1", "", "fail pass")]
    assert benchmark().score(samples, "test", scripted) == [
        ItemScore("P/0", "pass@1", 1.0),
        ItemScore("P/1", "pass@1", 0.0),
        ItemScore("P/0", "pass@1+", 0.0),
        ItemScore("P/1", "pass@1+", 0.0),
    ]


def test_a_timeout_is_no_pass() -> None:
    scores = pass_scores([Sample("a", "", "")], [Fate("pass", "timeout")])
    assert [score.value for score in scores] == [1.0, 0.0]


def test_unbiased_pass_at_k_by_hand() -> None:
    # 2 of 4 programs pass: pass@1 = 1/2, pass@2 = 1 - C(2,2)/C(4,2) = 5/6, pass@4 = 1
    samples = [Sample("a", "", "", index) for index in range(4)]
    outcomes = [Fate("pass", "pass"), Fate("fail", "fail"), Fate("pass", "fail"), Fate("timeout", "timeout")]
    table = by_metric(pass_scores(samples, outcomes, (1, 2, 4)))
    assert {metric: items["a"] for metric, items in table.items()} == pytest.approx(
        {"pass@1": 0.5, "pass@1+": 0.25, "pass@2": 5 / 6, "pass@2+": 0.5, "pass@4": 1.0, "pass@4+": 1.0}
    )


def test_k_above_the_number_of_samples_is_refused() -> None:
    with pytest.raises(UserError, match=r"passes=\[10\]: expected 1 to decoding.samples=1"):
        benchmark(passes=(10,))
    with pytest.raises(UserError, match="pass@2 needs at least 2 samples"):
        pass_scores([Sample("a", "", "")], [Fate("pass", "pass")], (2,))


def test_unanswered_problems_are_refused() -> None:
    with pytest.raises(UserError, match="p: 1 of 2 items have no sample, first P/1"):
        benchmark().score([Sample("P/0", "", "pass pass")], "test", scripted)


def test_prompts_and_limit() -> None:
    prompts = benchmark(user_prompt="Solve:\n{prompt}", prefill="```python\n", limit=1).prompts("test")
    assert [(prompt.id, prompt.text, prompt.prefill) for prompt in prompts] == [
        ("P/0", "Solve:\ndef f():\n", "```python\n")
    ]


def test_content_hash_follows_the_tests() -> None:
    def hashed(**change: Any) -> str:
        return CodeBenchmark("p", lambda split: [{**PROBLEMS[0], **change}], Decoding()).content_hash("test")

    assert hashed() == hashed()
    assert len({hashed(), hashed(plus_input=[[1]]), hashed(plus_input=[[2]]), hashed(prompt="x")}) == 4


def test_definitions_name_every_metric() -> None:
    several = benchmark(decoding=Decoding(temperature=1.0, samples=10), passes=(1, 10)).definitions
    assert list(several) == ["pass@1", "pass@1+", "pass@10", "pass@10+"]
    assert several["pass@10+"] == (
        "unbiased estimate of the chance that one of 10 programs passes all base and plus inputs"
    )
    assert benchmark().definitions["pass@1"] == "share of problems whose program passes all base inputs"
