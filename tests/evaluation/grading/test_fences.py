from __future__ import annotations

import pytest

from src.evaluation.grading.fences import CodeBlock, code_blocks, widest_block, with_helpers

CODE = "def f(x):\n    return x\n"


def inside(lead: str, code: str = CODE) -> str:
    return "".join(f"{lead}{line}\n" for line in code.splitlines())


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (f"```\n{CODE}```", ""),
        (f"```py\n{CODE}```\n", "py"),
        (f'```Python3 title="a.py"\n{CODE}```\nDone.', "python3"),
        (f"```{{.python}}\n{CODE}```", "{.python}"),
        (f"Here: ```python\n{CODE}```", "python"),
        (f"~~~python\n{CODE}~~~", "python"),
        (f"````python\n{CODE}````", "python"),
        (f"```python\n{CODE}``````", "python"),
        (f"  ```python\n{inside('  ')}  ```", "python"),
        (f"1. First:\n\n   ```python\n{inside('   ')}   ```\n2. Then (not).", "python"),
        (f"- ```python\n{inside('  ')}  ```", "python"),
        (f"> ```python\n{inside('> ')}> ```", "python"),
        ("```python\r\ndef f(x):\r\n    return x\r\n```\r\nDone.", "python"),
        ("```python def f(x):\n    return x\n```", ""),
        ("```python\ndef f(x):\n    return x```", "python"),
    ],
    ids=repr,
)
def test_ways_to_fence(text: str, language: str) -> None:
    assert code_blocks(text) == [CodeBlock(CODE, True, language)]


@pytest.mark.parametrize("text", ["```python def f(x): return x```", "So: ```def f(x): return x``` (done)"])
def test_one_line(text: str) -> None:
    assert code_blocks(text) == [CodeBlock("def f(x): return x\n", True)]


@pytest.mark.parametrize("text", ["", "no fences", "inline ``` fences", "inline `code`", "`` a ``", "2 ~~ 3"])
def test_no_fences(text: str) -> None:
    assert code_blocks(text) == []


def test_blocks_end_where_they_say() -> None:
    assert code_blocks(f"```\n{CODE}```\nand\n```\nf(1)") == [CodeBlock(CODE, True), CodeBlock("f(1)", False)]
    assert code_blocks("~~~\n```\n~~~") == [CodeBlock("```\n", True)]
    assert code_blocks("````\n```\n````") == [CodeBlock("```\n", True)]
    deep = 'def f(x):\n    """Doc.\n    ```\n    f(1)\n    ```\n    """\n    return x\n'
    assert code_blocks(f"```python\n{deep}```\nDone") == [CodeBlock(deep, True, "python")]


def test_the_widest_block_spans_fences_in_a_docstring() -> None:
    shallow = 'def f(x):\n  """Doc.\n  ```\n  f(1)\n  ```\n  """\n  return x\n'
    assert code_blocks(f"```python\n{shallow}```")[0].text == 'def f(x):\n  """Doc.\n'
    assert widest_block(f"Here:\n```python\n{shallow}```\nDone") == shallow
    assert widest_block(f"```\n{CODE}```") == ""


def test_helpers_of_earlier_blocks_come_along() -> None:
    texts = ["import math\n", "def area(r):\n    return math.pi * r\n", "area(1)\n", "def f(x):\n    return area(x)\n"]
    blocks = [CodeBlock(text, True) for text in texts]
    assert with_helpers(blocks, 3) == "\n".join([texts[0], texts[1], texts[3]])
    assert with_helpers(blocks, 1) == "\n".join(texts[:2])
    again = [CodeBlock("def f(x):\n    return 0\n", True), CodeBlock(CODE, True)]
    assert with_helpers(again, 1) == CODE
