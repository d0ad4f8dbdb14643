"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from src.evaluation.preflight.finding import Finding
from src.evaluation.statistics.scores import LOSSES
from src.reporting.format import visible
from src.reporting.sentences import cluster_line

SHOWN = ("prompt", "reference_answer", "answer", "input", "expected", "reference_got", "got")
WIDE = 400  # columns of a table that goes to a file or a pipe: paths stay whole


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; a file or a pipe gets it as wide as its content."""
    console = stdout_console()
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines on stdout as they are; long ones are not broken, so that commands can be copied."""
    for line in lines:
        stdout_console().print(line, highlight=False, markup=False, soft_wrap=True)


def print_study(verdict: str, headline: Mapping[str, Any], places: Sequence[str]) -> None:
    """Print the end of a study on stdout, in some 15 lines: verdict, checkpoint to take, scores, and where to look.

    Args:
        verdict: Its lines; the report has those after the first two.
        headline: `columns` and `rows` of the headline table, or nothing.
        places: Lines that name the files.
    """
    sentence, *more = verdict.splitlines()
    print_lines([sentence, *(line for line in more[:1] if line.startswith("Take "))])
    if headline:
        table = Table(*headline["columns"], box=None, padding=(0, 2, 0, 0), header_style="bold")
        for row in headline["rows"]:
            table.add_row(*map(escape, row))
        stdout_console().print(table)
    print_lines(places)


def stdout_console() -> Console:
    """Standard output; a file or a pipe gets wide lines."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def print_scores(rows: list[dict[str, Any]], title: str, definitions: dict[str, dict[str, str]]) -> None:
    """Print rows (benchmark, metric, value, low, high, n) on stdout as a table, losses in nats, others in percent.

    Args:
        rows: As in `scores.csv`.
        title: Printed above the table.
        definitions: benchmark -> metric -> its definition; printed below the table.
    """
    print_lines([title])
    table = Table("benchmark", "metric", "score", "95% interval", "n")
    for row in rows:
        score, low, high = (_number(row[key], row["metric"]) for key in ("value", "low", "high"))
        table.add_row(row["benchmark"], row["metric"], score, f"{low} - {high}", str(row["n"]))
    console = Console()
    console.print(table)
    for metric, words in {
        metric: words for metrics in definitions.values() for metric, words in metrics.items()
    }.items():
        console.print(f"[bold]{metric}[/]: {words}", highlight=False)


def _number(value: float, metric: str, sign: str = "") -> str:
    return f"{value:{sign}.4f}" if metric in LOSSES else f"{100 * value:{sign}.2f}"


def print_comparison(rows: list[dict[str, Any]], reference: str, title: str) -> None:
    """Print paired tests as a table on stdout: losses in nats, others in percentage points.

    Args:
        rows: Rows of `comparison.csv`.
        reference: Name of the model that the others are compared with.
        title: Printed above the table.
    """
    names = ("model", "benchmark", "metric", f"difference from {reference}", "95% interval", "n", "p", "verdict")
    print_lines([title])
    table = Table(*names)
    for row in rows:
        difference, low, high = (_number(row[key], row["metric"], "+") for key in ("difference", "low", "high"))
        values = (difference, f"{low} to {high}", str(row["n"]), f"{row['p_corrected']:.4g}", row["verdict"])
        table.add_row(row["subject"], row["benchmark"], row["metric"], *values)
    Console().print(table)
    for line in dict.fromkeys(cluster_line(row["benchmark"], row["clusters"], row["n"]) for row in rows):
        if line:
            print(line)


def print_differences(rows: list[dict[str, Any]], first: int, path: str) -> None:
    """Print how many items differ between two runs, and the first of them in full.

    Args:
        rows: Rows of `differences.csv`.
        first: Number of items to print per run.
        path: Where all of them are.
    """
    pairs: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        pairs.setdefault((row["subject"], row["benchmark"], row["metric"]), []).append(row)
    for (subject, benchmark, metric), found in pairs.items():
        better = sum((row["value"] > row["reference_value"]) != (metric in LOSSES) for row in found)
        counts = f"{subject} is better on {better} items, {found[0]['reference']} on {len(found) - better}"
        print_lines([f"{benchmark} {metric}: {counts}; see {path}"])
        for row in found[:first]:
            print_lines([f"\n{row['item']}: {row['reference_value']:.4g} and {row['value']:.4g}"])
            print_lines([f"--- {key}\n{visible(str(row[key]))}" for key in SHOWN if str(row[key])])


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the confounds of a comparison, one per line, or that there are none."""
    if not findings:
        print_lines(["preflight: the records show no confounds"])
    print_lines([f"{finding.severity}: {visible(finding.sentence)}" for finding in findings])


def print_clean_scores(check: dict[str, Any]) -> None:
    """Print a contamination check: how many items have each verdict, and the scores of the clean items, if scored."""
    table = Table("benchmark", "metric", "all items", "clean items", "95% interval", "n")
    for row in check["scores"]:
        known = row["clean_n"] > 0
        clean = [f"{100 * row[f'clean_{key}']:.2f}" if known else "-" for key in ("mean", "low", "high")]
        score, interval = clean[0], f"{clean[1]} - {clean[2]}" if known else "-"
        table.add_row(
            row["benchmark"], row["metric"], f"{100 * row['all_mean']:.2f}", score, interval, str(row["clean_n"])
        )
    for name, words in check["items"].items():
        Console().print(f"training data against {name}: {words}")
    if check["scores"]:
        Console().print(table)
