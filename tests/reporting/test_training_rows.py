from __future__ import annotations

import numpy as np
import pytest

from src.data.examples import Example
from src.data.tokenize import LengthReport, tokenize
from src.reporting.training_rows import histogram, print_row_counts, print_rows, row_counts, token_texts
from tests.lit_modules import tiny

ROW = Example("7", "codegen", "Add é", "a+b")


def test_tokens_and_their_loss_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """Both bytes of é come as one text; the answer and its end token carry loss."""
    tokenizer = tiny.tokenizer()
    table, _ = tokenize([ROW], tokenizer, 64)
    shown = list(token_texts(*table.row(0), tokenizer))
    prompt = ["<|im_start|>", *"user\nAdd é", "<|im_end|>", "\n", "<|im_start|>", *"assistant\n"]
    assert shown == [*((text, False) for text in prompt), *((text, True) for text in ("a", "+", "b", "<|im_end|>"))]
    print_rows("codegen", table, tokenizer, 5)
    printed = capsys.readouterr().out
    assert "codegen, row 7: 29 tokens, 4 with loss" in printed
    assert printed.rstrip().endswith("t|\n«a|+|b|<|im_end|>»")


def test_a_row_cannot_command_the_terminal() -> None:
    tokenizer = tiny.tokenizer()
    table, _ = tokenize([Example("0", "t", "\x1b[2J", "a")], tokenizer, 64)
    assert "\\x1b" in [text for text, _ in token_texts(*table.row(0), tokenizer)]


def test_counts_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    table, _ = tokenize([ROW] * 3, tiny.tokenizer(), 64)
    report = LengthReport(5, truncated_prompts=1, dropped=2, contaminated=4, left_out={"without an answer": 6})
    assert row_counts(table, report) == [
        ("read", 15), ("left out, without an answer", 6), ("left out, overlap with a benchmark item", 4),
        ("dropped, too long", 2), ("with a shortened prompt", 1), ("used", 3),
    ]  # fmt: skip
    print_row_counts("codegen train", table, report, 64)
    printed = capsys.readouterr().out
    assert "codegen train: 87 tokens, 12 with loss; 50 % up to 29, 95 % up to 29, longest 29, limit 64" in printed


def test_histogram_by_hand() -> None:
    bars = histogram(np.array([1, 2, 3, 20, 20, 20, 20]))
    assert [row[:2] for row in bars] == [
        ("1-2", "2"), ("3-4", "1"), ("5-6", "0"), ("7-8", "0"), ("9-10", "0"), ("11-12", "0"), ("13-14", "0"),
        ("15-16", "0"), ("17-18", "0"), ("19-20", "4"),
    ]  # fmt: skip
    assert [len(row[2]) for row in bars] == [20, 10, 0, 0, 0, 0, 0, 0, 0, 40]
    assert [row[1] for row in histogram(np.array([5]))] == ["0"] * 4 + ["1"] + ["0"] * 5
