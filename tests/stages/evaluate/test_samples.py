"""Samples in every form that is published, and as our generators leave them, through the stage that scores them."""

import dataclasses
import json

import pandas as pd
import pytest

from src.evaluation.generators.samples import Sample
from src.stages.evaluate.run import evaluate, show
from src.stages.job import compose_job
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl, write_jsonl
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

pytestmark = pytest.mark.usefixtures("sandbox")
PROMPT = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Sum of the even numbers."""\n'
BODY = "    evens = [x for x in xs if x % 2 == 0]\n    return sum(evens)\n"
WRONG = "    return sum(xs)\n"
PROBLEM = {
    "task_id": "HumanEval/0", "prompt": PROMPT, "entry_point": "total", "canonical_solution": BODY,
    "base_input": [[[2, 4]]], "plus_input": [[[1, 2]]], "atol": 0,
}  # fmt: skip
CODE = PROMPT + BODY
CHAT = f"Sure! The idea is to (first) filter.\n\n```python\n{CODE}```\n\nFor example:\n```\n>>> total([1, 2])\n2\n```\n"
USAGE = (
    f"Here you are:\n```python\n{CODE}\nprint(total(list(map(int, input().split()))))\n```\nRun it and type numbers.\n"
)
UNFENCED = f"The function is this one (see below):\n\n{CODE}\nI hope this helps!\n"


def score(tmp_path, rows, *overrides, benchmark="humaneval"):
    write_jsonl(tmp_path / "problems.jsonl", [PROBLEM])
    if rows is not None:
        write_jsonl(tmp_path / "answers.jsonl", rows)
        overrides = (f"samples={tmp_path}/answers.jsonl", *overrides)
    places = [f"benchmark.problems={tmp_path}/problems.jsonl", f"output_root={tmp_path}/runs", "benchmark.recheck=0"]
    directory = evaluate(compose_job("evaluate", [f"benchmark={benchmark}", *places, *overrides]))
    verdicts = read_jsonl(directory / f"verdicts-{benchmark}.jsonl")
    return directory, [(row["base"], row["plus"]) for row in verdicts]


def test_flaky_programs_are_printed_and_recorded(tmp_path, capsys):
    """`hash('hash')` is even with hash seed 0, which counts, and odd with hash seed 1."""
    flaky = "    return sum(x for x in xs if x % 2 == 0) + (hash('hash') & 1)\n"
    rows = [{"task_id": "HumanEval/0", "completion": body} for body in (BODY, flaky)]
    directory, verdicts = score(tmp_path, rows, "benchmark.recheck=1")
    assert verdicts == [PASS, PASS]
    assert [row["flaky"] for row in read_jsonl(directory / "verdicts-humaneval.jsonl")] == [False, True]
    found = json.loads((directory / "run.json").read_text())["results"]["flaky"]["humaneval"]
    assert found == {"programs": 2, "changed": 1, "tasks": ["HumanEval/0"]}
    show(directory)
    printed = capsys.readouterr().out
    assert "humaneval: 2 programs ran again with another hash seed: 1 got another verdict" in printed
    assert "humaneval: flaky (the verdict changes from run to run): HumanEval/0" in printed


PASS, PLUS_FAILS, FAIL = ("pass", "pass"), ("pass", "fail"), ("fail", "fail")
FILED = {  # of files that others made
    "whole program": ({"solution": CODE}, PASS),
    "continuation": ({"completion": BODY}, PASS),
    "prompt repeated": ({"completion": CODE}, PASS),
    "chat": ({"completion": CHAT}, PASS),
    "chat as solution": ({"solution": CHAT}, PASS),
    "chat that runs itself": ({"completion": USAGE}, PASS),
    "fenced continuation": ({"completion": f"```python\n{BODY}```\n"}, PASS),
    "prose around it": ({"completion": UNFENCED}, PASS),
    "whole program that runs itself": ({"solution": CODE + "\ninput()\n"}, FAIL),
    "wrong continuation": ({"completion": WRONG}, PLUS_FAILS),
    "wrong chat": ({"completion": CHAT.replace(BODY, WRONG)}, PLUS_FAILS),
}


@pytest.mark.parametrize(
    ("sanitize", "others"),
    [
        ("fallback", {}),
        ("evalplus", {"whole program that runs itself": PASS, "fenced continuation": FAIL}),
        ("never", {"prose around it": FAIL, "chat that runs itself": FAIL}),
    ],
)
def test_every_published_form(tmp_path, capsys, sanitize, others):
    rows = [{"task_id": "HumanEval/0", **row} for row, _ in FILED.values()]
    directory, verdicts = score(tmp_path, rows, f"benchmark.sanitize={sanitize}")
    expected = {name: others.get(name, verdict) for name, (_, verdict) in FILED.items()}
    assert dict(zip(FILED, verdicts, strict=True)) == expected
    show(directory)
    printed = capsys.readouterr().out
    counts = {
        "fallback": "humaneval: sanitize=fallback changes 2 of 11 verdicts against sanitize=evalplus "
        "(1 pass only with fallback, 1 only with evalplus)",
        "evalplus": "humaneval: sanitize=evalplus changes 2 of 11 verdicts against sanitize=fallback "
        "(1 pass only with evalplus, 1 only with fallback)",
    }
    assert counts[sanitize] in printed if sanitize in counts else "sanitize=" not in printed


GENERATED = {  # completions as a model leaves them, by default and as EvalPlus sanitizes them; the chat ones begin
    # after the prefill, inside the fence
    "code up to the stop string": (CODE, PASS, PASS),
    "code, then talk": (CODE + "```\nThis (of course) sums.\n```python\ntotal([1])\n```\n", PASS, PASS),
    "code that runs itself": (CODE + "\ncount = int(input())\n", PASS, PASS),
    "a fence of its own": (CHAT, PASS, PASS),
    "tabs": (CODE.replace("    ", "\t"), PASS, PASS),
    "constants in one line": ("A, B = 2, 0\n" + CODE.replace("x % 2 == 0", "x % A == B"), PASS, FAIL),
    "body only": (BODY, PASS, FAIL),
    "wrong": (PROMPT + WRONG, PLUS_FAILS, PLUS_FAILS),
    "prose": ("I am sorry, but I cannot (do that).", FAIL, FAIL),
}


def generated(texts):
    return [dataclasses.asdict(Sample("HumanEval/0", "...", text, number)) for number, text in enumerate(texts)]


@pytest.mark.parametrize(("sanitize", "column"), [("fallback", 1), ("evalplus", 2)])
def test_our_own_chat_answers(tmp_path, sanitize, column):
    rows = generated(row[0] for row in GENERATED.values())
    _, verdicts = score(tmp_path, rows, f"benchmark.sanitize={sanitize}")
    assert dict(zip(GENERATED, verdicts, strict=True)) == {name: row[column] for name, row in GENERATED.items()}


def test_a_base_model_continues_the_prompt(tmp_path):
    texts = [BODY, BODY + "\n\nThis (sums) all.", BODY + "\nassert total([]) == 1\n", WRONG]
    _, verdicts = score(tmp_path, generated(texts), benchmark="humaneval_base")
    assert verdicts == [PASS, PASS, PASS, PLUS_FAILS]
    _, verdicts = score(tmp_path, generated(texts), "benchmark.sanitize=evalplus", benchmark="humaneval_base")
    assert verdicts == [PASS, PASS, PASS, PLUS_FAILS]


def test_directories_of_programs(tmp_path):
    for number, text in enumerate([CODE, PROMPT + WRONG]):
        folder = tmp_path / "programs" / "HumanEval_0"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.py").write_text(text)
    (tmp_path / "programs" / "eval_results.json").write_text("{}")
    directory, verdicts = score(tmp_path, None, f"samples={tmp_path}/programs", "benchmark.k=[1,2]")
    assert verdicts == [PASS, PLUS_FAILS]
    scores = pd.read_csv(directory / "scores.csv").set_index("metric")["value"]
    assert scores.to_dict() == {"pass@1": 1.0, "pass@1+": 0.5, "pass@2": 1.0, "pass@2+": 1.0}
    (folder / "1.py").write_text(CODE)
    with pytest.raises(UserError, match=r"holds another run.*inputs\.samples"):
        score(tmp_path, None, f"samples={tmp_path}/programs", "benchmark.k=[1,2]")


def test_answers_to_other_problems_are_left_out(tmp_path, capsys):
    rows = [{"task_id": task, "solution": CODE} for task in ("HumanEval/0", "HumanEval/7", "HumanEval/8")]
    _, verdicts = score(tmp_path, rows)
    assert verdicts == [PASS]
    assert "2 of 3 samples belong to other problems and are ignored; the first is HumanEval/7" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ("answers.txt", r"answers\.txt: expected a \.jsonl or \.jsonl\.gz file, or a directory"),
        ("empty", "empty holds no programs; expected a"),
        ("absent.jsonl", "no such file: samples="),
    ],
)
def test_other_places_are_refused(tmp_path, samples, words):
    (tmp_path / "answers.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        score(tmp_path, None, f"samples={tmp_path}/{samples}")
    assert not list((tmp_path / "runs").glob("evaluate/[!.]*"))
