from __future__ import annotations

import random

import pytest

from src.data.copies import find_copies, overlap_counts, similarity_of, without_copies_of_others
from src.data.examples import Example, Examples

WORDS = [f"w{number}" for number in range(400)]


def row(name: str, prompt: str, answer: str = "a") -> Example:
    return Example(name, "t", prompt, answer)


def without_copies(rows: Examples, similarity: float | None, held_out: list[Example] | None = None) -> Examples:
    [found] = without_copies_of_others([rows], similarity, held_out or [])
    return found


def texts(count: int, length: int = 100) -> list[list[str]]:
    draw = random.Random(0)
    return [draw.choices(WORDS, k=length) for _ in range(count)]


def test_similarity_by_hand() -> None:
    """7 words have the grams 1-5, 2-6, 3-7; another last word leaves two of three, of four together."""
    assert similarity_of(row("1", "a b c d e f g", ""), row("2", "a b c d e f h", "")) == 0.5
    assert similarity_of(row("1", "A b, c d e", ""), row("2", "a b c\n d  e", "")) == 1
    assert similarity_of(row("1", "+", ""), row("2", "-", "")) == 0


def test_equal_rows() -> None:
    rows = [row("1", "x"), row("2", " x\n"), row("3", "x", "another answer"), row("4", "y")]
    found = find_copies(rows, None)
    assert [None if copy is None else copy.of for copy in found] == [None, "1", None, None]
    kept = without_copies(Examples(rows, {"without an answer": 2}), None)
    assert [one.id for one in kept] == ["1", "3", "4"]
    assert kept.left_out == {"without an answer": 2, "copies of other rows": 1}


def test_copies_of_rows_of_another_source() -> None:
    sources = [Examples([row("1", "x"), row("2", "y")]), Examples([row("3", "y"), row("4", "z")], {"empty": 1})]
    first, second = without_copies_of_others(sources, None)
    assert ([one.id for one in first], [one.id for one in second]) == (["1", "2"], ["4"])
    assert (first.left_out, second.left_out) == ({}, {"empty": 1, "copies of other rows": 1})


def test_near_copies_are_those_above_the_similarity_whatever_the_hashes() -> None:
    """Against all pairs by brute force."""
    rows = list[Example]()
    for number, text in enumerate(texts(40)):
        rows.append(row(f"{number}", " ".join(text)))
        changed = list(text)
        for place in range(number // 4):  # 0 to 9 of 100 words replaced
            changed[place * 10] = "new"
        rows.append(row(f"{number}'", " ".join(changed)))
    for similarity in (0.7, 0.8, 0.9):
        kept = list[Example]()
        for one in rows:
            if all(similarity_of(one, other) < similarity for other in kept):
                kept.append(one)
        assert 40 < len(kept) < 80
        assert [one.id for one in without_copies(Examples(rows), similarity)] == [one.id for one in kept]


def test_no_row_may_copy_a_held_out_one() -> None:
    question = " ".join(WORDS[:50])
    held_out = [row("v1", "x"), row("v2", question)]
    rows = [row("1", "x", "another answer"), row("2", f"{question} more"), row("3", "z")]
    kept = without_copies(Examples(rows), 0.8, held_out)
    assert [one.id for one in kept] == ["3"]
    assert kept.left_out == {"copies of validation rows": 1, "near copies of validation rows": 1}
    assert overlap_counts(rows, held_out, 0.8) == {"rows": 2, "copies": 1, "near copies": 1}
    assert overlap_counts(kept, held_out, 0.8) == {"rows": 2, "copies": 0, "near copies": 0}


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(count: int) -> None:
    assert find_copies([row("1", "x")] * count, 0.8) == [None] * count
    assert find_copies([], 0.8, [row("1", "x")]) == []
