"""Prompts and grades of a judge; whole evaluations are in tests/stages/evaluate/test_judged.py."""

from __future__ import annotations

from typing import Any

import pytest

from src.evaluation.benchmarks.judge import SummaryJudge
from src.evaluation.generators.samples import Sample
from src.utils.errors import UserError

PLACE = {"base_url": "http://127.0.0.1:9/v1", "model": "tiny"}


def judge(prompt: str = "{prediction}", **keys: Any) -> SummaryJudge:
    return SummaryJudge(**{**PLACE, "prompt": prompt, **keys})


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Score: 1", 0.0),
        ("Fine.\n\nScore: 5", 1.0),
        ("It is fair.\n**Score: 4**\n", 0.75),
        ("score : 3", 0.5),
        ("Score: **2**", 0.25),
        ("Score: 4/5", 0.75),
        ("<think>Score: 1</think>\nScore: 5", 1.0),
        ("Score: 0", None),
        ("Score: 6", None),
        ("Score: 4.5", None),
        ("Score: 4 of 5", None),
        ("Score: 4/10", None),
        ("Score: 4\nI hope this helps!", None),
        ("I would say 4", None),
        ("Score: four", None),
        ("Score: -3", None),
        (f"Score: {'9' * 5000}", None),
        ("", None),
    ],
)
def test_grades_are_read_strictly(reply: str, score: float | None) -> None:
    """A reply without a grade has no score, and is named with its last line."""
    grades = judge().read([Sample("s/0", "", "Score: 1"), Sample("s/1", "", reply)])
    assert grades.scores == {"s/0": 0.0} | ({} if score is None else {"s/1": score})
    assert grades.unread == ({} if score is not None else {"s/1": reply.strip().split("\n")[-1]})


def test_a_reply_that_is_cut_off_has_no_grade() -> None:
    """`Score: 1` may be the beginning of `Score: 10`."""
    replies = [Sample("s/0", "", "Score: 1", finish="length"), Sample("s/1", "", "Score: 10")]
    grades = judge(highest=10, lowest=0).read(replies)
    assert (grades.scores, grades.unread) == ({"s/1": 1.0}, {"s/0": "Score: 1 (cut off)"})


def test_no_grade_at_all_is_an_error() -> None:
    with pytest.raises(UserError, match=r"none of 2 replies ends with `Score: N`.*'Hello'.*benchmark\.judge\.prompt"):
        judge().read([Sample("s/0", "", "Hello"), Sample("s/1", "", "Bye")])


def test_prompts() -> None:
    made = judge("{code} | {reference} | {prediction} | {lowest}-{highest}", lowest=0, highest=9)
    [prompt] = made.prompts({"s/0": " {code} \n"}, {"s/0": "Adds."}, {"s/0": "def f(): {}"})
    assert (prompt.id, prompt.text, prompt.chat) == ("s/0", "def f(): {} | Adds. | {code} | 0-9", True)
    with pytest.raises(UserError, match=r"benchmark\.judge\.prompt has \{code\}, which predictions="):
        made.prompts({"s/0": "x"}, {"s/0": "y"}, None)
    [prompt] = judge("{reference}: {prediction}").prompts({"s/0": "x"}, {"s/0": "y"}, None)
    assert prompt.text == "y: x"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"prompt": "Grade {code}"}, r"benchmark\.judge\.prompt lacks \{prediction\}"),
        (
            {"prompt": "Grade {prediction} {source}"},
            r"benchmark\.judge\.prompt has the placeholder \{source\}.*\{code",
        ),
        ({"base_url": None}, r"benchmark\.judge needs both base_url=.* and model=NAME, got None and tiny"),
        ({"lowest": 5}, r"benchmark\.judge\.lowest=5 and \.highest=5"),
        ({"concurrency": 0}, r"benchmark\.judge\.concurrency must be at least 1"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        judge(**keys)
