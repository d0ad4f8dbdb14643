from __future__ import annotations

from src.evaluation.grading.problems import Problem
from src.evaluation.grading.programs import candidate_programs, defines, fenced_code, whole_answer

PROBLEM = Problem("T/0", "def f(x):\n", "f", "    return x\n", [], [])


def test_forms() -> None:
    assert candidate_programs({"solution": "def f(x): return x"}, PROBLEM) == ("def f(x): return x",)
    continued = candidate_programs({"completion": "    return x\n"}, PROBLEM)
    assert continued == ("def f(x):\n    return x\n", "    return x\n")


def test_fences() -> None:
    chat = "Here it is:\n```python\ndef f(x):\n    return x\n```\nIt returns x.\n```\nf(1)\n```\n"
    assert fenced_code(chat) == "def f(x):\n    return x\n\nf(1)\n"
    assert fenced_code("```python\ndef f(x):\n    return x") == "def f(x):\n    return x"
    assert fenced_code("no fences") == ""
    assert fenced_code("inline ``` fences") == ""
    texts = candidate_programs({"completion": chat}, PROBLEM)
    assert texts == (PROBLEM.prompt + chat, chat, fenced_code(chat), PROBLEM.prompt + fenced_code(chat))
    assert candidate_programs({"solution": chat}, PROBLEM)[:2] == (chat, fenced_code(chat))


def test_the_sanitized_text_comes_before_the_fenced_code_where_it_has_the_function() -> None:
    chat = "Sum:\n```\ndef f(x):\n    return x\n```\n"
    reduced = "def f(x):\n    return x"
    assert candidate_programs({"solution": chat}, PROBLEM, reduced)[:2] == (chat, reduced)
    assert reduced not in candidate_programs({"solution": chat}, PROBLEM, "def g(x):\n    return x")
    assert candidate_programs({"solution": reduced}, PROBLEM, "x") == (reduced,)


def test_definitions() -> None:
    assert all(defines(text, "f") for text in ("def f(x):", "x\n  async def f (x):", "f = abs", "def  f():"))
    assert not any(defines(text, "f") for text in ("def ff():", "# def f():", "f(1)", "x = f = abs", ""))


def test_whole_answers() -> None:
    assert whole_answer("return 1", "def f():", "f") == "def f():\nreturn 1"
    assert whole_answer("def f(): 1", "def f():", "f") == "def f(): 1"
    assert whole_answer("```\nreturn 1\n```", "def f():", "f") == "```\nreturn 1\n```"
