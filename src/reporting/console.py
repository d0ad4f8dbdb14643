"""Results on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_scores(rows: list[dict[str, Any]], title: str) -> None:
    """Print score rows (benchmark, metric, value, low, high as fractions, n) as a table in percent on stdout."""
    table = Table("benchmark", "metric", "score", "95 % interval", "n", title=title, title_justify="left")
    for row in rows:
        score, low, high = (f"{100 * row[key]:.2f}" for key in ("value", "low", "high"))
        table.add_row(row["benchmark"], row["metric"], score, f"{low} - {high}", str(row["n"]))
    Console().print(table)
