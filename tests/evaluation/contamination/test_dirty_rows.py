from __future__ import annotations

from src.evaluation.contamination.overlap import Document, OverlapFilter

WORDS = [f"w{number}" for number in range(50)]
ITEM = Document("Mbpp/7", (" ".join(WORDS),), ("def f(a, b):\n    total = a + b\n    return total * 2 - a\n",))


def dirty(*rows: Document) -> list[bool]:
    overlap = OverlapFilter([Document("other", ("nothing in common",)), ITEM])
    return [overlap.is_dirty(row) for row in rows]


def test_a_tenth_of_an_item_may_be_shared_a_fifth_not() -> None:
    """10 of 50 tokens are a fifth; nine in a row are no 10-gram."""
    rows = [" ".join(["x", *WORDS[start : start + count], "y"]) for start, count in ((0, 9), (5, 10), (0, 50))]
    assert dirty(*(Document(str(number), (text,)) for number, text in enumerate(rows))) == [False, True, True]


def test_the_same_id_and_the_same_program_under_other_names() -> None:
    renamed = "def g(x, y):\n    s = x + y\n    return s * 2 - x\n"
    changed = renamed.replace("* 2", "* 3")
    rows = [Document("Mbpp/7", ("z",)), Document("1", ("z",), (renamed,)), Document("2", ("z",), (changed,))]
    assert dirty(*rows) == [True, True, False]
