"""Training rows on the terminal: their tokens with the loss in color, what was left out of them, and their lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from src.data.table import IGNORED, TokenTable
from src.data.tokenize import LengthReport
from src.reporting.console import print_lines, print_table, stdout_console
from src.reporting.format import visible

BINS = 10  # of a histogram of lengths
BAR = 40  # characters of its longest bar
LONGEST_CHARACTER = 4  # tokens that one character of a byte-level vocabulary may take
# neighboring tokens have different shades, so that each can be seen
SHADES = {True: ("bold black on green", "bold black on bright_green"), False: ("dim", "dim underline")}
Token = tuple[str, bool]  # text, and whether it carries loss


def print_rows(task: str, table: TokenTable, tokenizer: PreTrainedTokenizerBase, count: int) -> None:
    """Print rows of a task, evenly spaced, as tokens; those with loss in color, or between « and » without colors.

    Args:
        task: Name of the task.
        table: Its rows.
        tokenizer: Of the rows.
        count: Number of rows.
    """
    count = min(count, len(table))
    console = stdout_console()
    for number in range(count):
        index = number * len(table) // count
        tokens, labels = table.row(index)
        with_loss = int((labels != IGNORED).sum())
        console.print(
            Text(f"\n{task}, row {table.ids[index]}: {len(tokens)} tokens, {with_loss} with loss", style="bold")
        )
        shown = list(token_texts(tokens, labels, tokenizer))
        console.print(_colored(shown) if console.is_terminal else _marked(shown), soft_wrap=True, highlight=False)


def token_texts(
    tokens: NDArray[np.int32], labels: NDArray[np.int64], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Token]:
    """Yield the text of each token of a row; tokens that share a character come together."""
    held = list[int]()
    for place, token in enumerate(tokens.tolist()):
        held.append(token)
        text = str(tokenizer.decode(held, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        same = place + 1 < len(tokens) and (labels[place + 1] == IGNORED) == (labels[place] == IGNORED)
        if "\ufffd" in text and same and len(held) < LONGEST_CHARACTER:
            continue
        yield visible(text), bool(labels[place] != IGNORED)
        held = []


def print_row_counts(label: str, table: TokenTable, report: LengthReport, max_length: int) -> None:
    """Print what became of the rows of a source, and a histogram of the lengths of those that are used.

    Args:
        label: Task and split.
        table: The rows that are used.
        report: Counts of the others.
        max_length: Limit of a row in tokens.
    """
    print_lines(["", f"{label}: rows"])
    print_table("", ("rows", "of which"), [(f"{number:,}", what) for what, number in row_counts(table, report)])
    lengths = np.sort(table.lengths)
    middle = " ".join(f"{share} % up to {int(np.quantile(lengths, share / 100)):,}," for share in (50, 95))
    line = (
        f"{label}: {int(lengths.sum()):,} tokens, {int(table.answer_lengths.sum()):,} with loss; "
        f"{middle} longest {int(lengths[-1]):,}, limit {max_length:,}"
    )
    print_lines([line])
    print_table("", ("tokens", "rows", ""), histogram(table.lengths))


def row_counts(table: TokenTable, report: LengthReport) -> list[tuple[str, int]]:
    """Numbers of rows by what became of them: all of the source, those left out by reason, shortened and used."""
    left_out = sum(report.left_out.values())
    counts = {
        "read": report.rows + report.contaminated + left_out,
        **{f"left out, {reason}": number for reason, number in report.left_out.items()},
        "left out, overlap with a benchmark item": report.contaminated,
        "dropped, too long": report.dropped,
        "with a shortened prompt": report.truncated_prompts,
        "with a shortened answer, which teaches not to stop": report.truncated_answers,
        "with the text of control tokens, kept as text": report.control_text,
        "used": len(table),
    }
    return [(what, number) for what, number in counts.items() if number or what in ("read", "used")]


def histogram(lengths: NDArray[np.int64]) -> list[tuple[str, str, str]]:
    """Rows of a table: range of lengths, number of rows, bar."""
    width = max(1, -(-int(lengths.max()) // BINS))
    counts = np.bincount((lengths - 1) // width, minlength=BINS)
    return [
        (f"{number * width + 1:,}-{(number + 1) * width:,}", f"{count:,}", "█" * -(-BAR * count // int(counts.max())))
        for number, count in enumerate(counts.tolist())
    ]


def _colored(tokens: Sequence[Token]) -> Text:
    text = Text()
    for number, (token, with_loss) in enumerate(tokens):
        text.append(token, style=SHADES[with_loss][number % 2])
    return text


def _marked(tokens: Sequence[Token]) -> Text:
    """Tokens between bars, and those with loss between « and »."""
    parts, before = list[str](), False
    for token, with_loss in tokens:
        parts.append(("«" if with_loss else "»") if with_loss != before else "|")
        parts.append(token)
        before = with_loss
    return Text("".join([*parts[parts[:1] == ["|"] :], *(["»"] if before else [])]))
