from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from src.evaluation.benchmarks.code import CodeBenchmark, pass_scores
from src.evaluation.generators.samples import Decoding, Sample
from src.evaluation.grading.programs import Answer
from src.evaluation.grading.results import ProgramResult
from src.evaluation.statistics.scores import Score, by_metric
from src.utils.errors import UserError

PROBLEMS = [
    {"task_id": "P/0", "prompt": "def f():\n", "entry_point": "f"},
    {"task_id": "P/1", "prompt": "def g():\n", "entry_point": "g"},
]


def result(base: str, plus: str) -> ProgramResult:
    return ProgramResult("P/0", 0, base, plus)


def scripted(
    problems: Sequence[dict[str, Any]], answers: Sequence[Answer], sanitize: str, recheck: float
) -> list[ProgramResult]:
    """The completion says what becomes of it: `base plus`."""
    assert (sanitize, recheck) == ("fallback", 0.1)
    assert list(problems) == PROBLEMS
    return [result(*answer.texts[0].split()) for answer in answers]


def benchmark(**options: Any) -> CodeBenchmark:
    return CodeBenchmark("p", lambda split: PROBLEMS, options.pop("decoding", Decoding()), **options)


def test_plus_needs_base_and_plus() -> None:
    samples = [Sample("P/0", "", "pass fail"), Sample("P/1", "", "fail pass")]
    assert benchmark().score(samples, "test", scripted) == [
        Score("p", "P/0", "pass@1", 1.0),
        Score("p", "P/1", "pass@1", 0.0),
        Score("p", "P/0", "pass@1+", 0.0),
        Score("p", "P/1", "pass@1+", 0.0),
    ]


def test_a_timeout_is_no_pass() -> None:
    scores = pass_scores("p", [Sample("a", "", "")], [result("pass", "timeout")])
    assert [score.value for score in scores] == [1.0, 0.0]


def test_unbiased_pass_at_k_by_hand() -> None:
    # 2 of 4 programs pass: pass@1 = 1/2, pass@2 = 1 - C(2,2)/C(4,2) = 5/6, pass@4 = 1
    samples = [Sample("a", "", "", index) for index in range(4)]
    outcomes = [result("pass", "pass"), result("fail", "fail"), result("pass", "fail"), result("timeout", "timeout")]
    table = by_metric(pass_scores("p", samples, outcomes, (1, 2, 4)))
    assert {metric: items["a"] for (_, metric), items in table.items()} == pytest.approx(
        {"pass@1": 0.5, "pass@1+": 0.25, "pass@2": 5 / 6, "pass@2+": 0.5, "pass@4": 1.0, "pass@4+": 1.0}
    )


def test_k_above_the_number_of_samples_is_refused() -> None:
    with pytest.raises(UserError, match=r"k=\[10\] needs benchmark.decoding.samples=10 or more \(now 1\)"):
        benchmark(k=(10,)).prompts("test")
    for k in ((0,), ()):
        with pytest.raises(UserError, match=r"expected numbers of at least 1"):
            benchmark(k=k)
    with pytest.raises(UserError, match="pass@2 needs at least 2 samples"):
        pass_scores("p", [Sample("a", "", "")], [result("pass", "pass")], (2,))


def test_unanswered_problems_are_refused() -> None:
    with pytest.raises(UserError, match="p: 1 of 2 items have no sample; the first is P/1"):
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
    several = benchmark(decoding=Decoding(temperature=1.0, samples=10), k=(1, 10)).definitions
    assert list(several) == ["pass@1", "pass@1+", "pass@10", "pass@10+"]
    assert several["pass@10+"] == (
        "unbiased estimate of the chance that one of 10 programs passes all base and plus inputs"
    )
    assert benchmark().definitions["pass@1"] == "share of problems whose program passes all base inputs"


CODE = "def f(): x"


@pytest.mark.parametrize(
    ("chat", "sample", "first", "raw"),
    [
        (True, Sample("P/0", "asked", "\tx"), "\tx", "    x"),
        (False, Sample("P/0", "asked", "\tx"), "def f():\n\tx", "def f():\n    x"),
        (True, Sample("P/0", "", "\tx", generated=False), "def f():\n\tx", "def f():\n\n\tx"),
        (True, Sample("P/0", "", CODE, generated=False), f"def f():\n{CODE}", CODE),
        (True, Sample("P/0", "", "x", whole=True, generated=False), "x", "x"),
    ],
)
def test_texts_of_an_answer(chat: bool, sample: Sample, first: str, raw: str) -> None:
    """What the judge is given: the text that comes first, and the text for the sanitizer."""
    seen: list[Answer] = []

    def judge(problems: Any, answers: Sequence[Answer], sanitize: str, recheck: float) -> list[ProgramResult]:
        seen.extend(answers)
        assert sanitize == "evalplus"
        return [result("pass", "pass")] * len(answers)

    problem = {"task_id": "P/0", "prompt": "def f():\n", "entry_point": "f"}
    CodeBenchmark("p", lambda split: [problem], Decoding(), chat=chat, sanitize="evalplus").score(
        [sample], "test", judge
    )
    [answer] = seen
    assert (answer.task_id, answer.texts[0], answer.raw) == ("P/0", first, raw)


def test_a_chat_answer_begins_in_the_fence_of_the_prefill() -> None:
    seen: list[Answer] = []

    def judge(problems: Any, answers: Sequence[Answer], sanitize: str, recheck: float) -> list[ProgramResult]:
        seen.extend(answers)
        return [result("pass", "pass")] * len(answers)

    problem = {"task_id": "P/0", "prompt": "def f():\n", "entry_point": "f"}
    chat = CodeBenchmark("p", lambda split: [problem], Decoding(), prefill="Script:\n```python\n")
    chat.score([Sample("P/0", "", f"{CODE}\n```\nDone (really")], "test", judge)
    assert f"{CODE}\n" in seen[0].texts


def test_shares_to_run_again() -> None:
    seen: list[float] = []

    def judge(problems: Any, answers: Sequence[Answer], sanitize: str, recheck: float) -> list[ProgramResult]:
        seen.append(recheck)
        return [result("pass", "pass")] * len(answers)

    problem = {"task_id": "P/0", "prompt": "def f():\n", "entry_point": "f"}
    CodeBenchmark("p", lambda split: [problem], Decoding(), recheck=0.3).score([Sample("P/0", "", "x")], "test", judge)
    assert seen == [0.3]
    with pytest.raises(UserError, match=r"benchmark\.recheck=10: expected a share from 0 to 1"):
        benchmark(recheck=10)


def test_unknown_ways_to_sanitize_list_the_known() -> None:
    with pytest.raises(UserError, match=r"unknown benchmark\.sanitize 'evalpus', did you mean 'evalplus'"):
        benchmark(sanitize="evalpus")
