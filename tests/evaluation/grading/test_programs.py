from __future__ import annotations

from src.evaluation.grading.programs import answer_of_row, candidate_programs, defines, whole_answer

PROMPT = "def f(x):\n"
BLOCK = "def f(x):\n    return x\n"
CHAT = f"Here it is:\n```python\n{BLOCK}```\nIt returns x.\n```\nf(1)\n```\n"


def texts(**row: str) -> tuple[str, ...]:
    return answer_of_row({"task_id": "T/0", **row}, PROMPT, "f").texts


def test_forms() -> None:
    assert texts(solution=BLOCK) == (BLOCK,)
    assert texts(completion="    return x\n") == ("def f(x):\n    return x\n", "    return x\n", "return x\n")
    assert texts(completion=f" {BLOCK}")[-1] == BLOCK  # an answer that begins with a space
    assert texts(solution="\ufeffx = 1")[-1] == "x = 1"
    assert texts(completion="") == (PROMPT, "")


def test_the_whole_answer_comes_first_then_its_last_complete_block_with_the_function() -> None:
    assert texts(solution=CHAT)[:2] == (CHAT, BLOCK)
    assert texts(completion=CHAT)[:3] == (PROMPT + CHAT, CHAT, BLOCK)
    twice = f"```\n{BLOCK}```\nBetter:\n```\ndef f(x):\n    return +x\n```\nCut off:\n```\ndef f(x):\n    ret"
    assert texts(solution=twice)[1:4] == ("def f(x):\n    return +x\n", BLOCK, "def f(x):\n    ret")
    assert PROMPT + "    return x\n" in texts(completion="```python\n    return x\n```\n")


def test_an_answer_may_begin_inside_the_fence_of_the_prefill() -> None:
    found = candidate_programs((f"{BLOCK}```\nDone (really",), f"Sure:\n```python\n{BLOCK}```\nDone (really", "", "f")
    assert found[1] == BLOCK


def test_definitions() -> None:
    assert all(defines(text, "f") for text in ("def f(x):", "x\n  async def f (x):", "f = abs", "def  f():"))
    assert not any(defines(text, "f") for text in ("def ff():", "# def f():", "f(1)", "x = f = abs", "f == 1", ""))


def test_whole_answers() -> None:
    assert whole_answer("return 1", "def f():", "f") == "def f():\nreturn 1"
    assert whole_answer("def f(): 1", "def f():", "f") == "def f(): 1"
    assert whole_answer("```\nreturn 1\n```", "def f():", "f") == "```\nreturn 1\n```"


def test_without_a_name_any_definition_counts() -> None:
    assert [defines(text, "") for text in ("def f(): ...", "x\n class A:", "async def g(): ...", "f = 1", "f()")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert defines("class F(A):", "F")
    assert not defines("classy F", "F")
