from __future__ import annotations

from src.evaluation.problems import Problem
from src.evaluation.programs import candidate_programs, fenced_code

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
