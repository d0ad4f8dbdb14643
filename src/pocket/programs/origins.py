"""The catalog of sources: the origins of a pipeline's elements."""

from __future__ import annotations

from src.pocket.programs.operators import Source

SOURCES: tuple[Source, ...] = (
    Source("numbers", ("numbers",), "int", list, "numbers", ("numbers",)),
    Source(
        "upto", ("n",), "int", lambda n: list(range(1, n + 1)), "range(1, n + 1)", ("integers from one to n",), False
    ),
    Source("digits", ("n",), "int", lambda n: [int(d) for d in str(n)], "[int(d) for d in str(n)]", ("digits of n",)),
    Source(
        "products",
        ("left", "right"),
        "int",
        lambda left, right: [a * b for a, b in zip(left, right, strict=False)],
        "[a * b for a, b in zip(left, right)]",
        ("products of left and right",),
    ),
    Source(
        "flat",
        ("rows",),
        "int",
        lambda rows: [x for row in rows for x in row],
        "[x for row in rows for x in row]",
        ("numbers in all rows",),
    ),
    Source("rows", ("rows",), "row", list, "rows", ("rows",)),
    Source(
        "values",
        ("table",),
        "int",
        lambda table: list(table.values()),
        "table.values()",
        ("values of the table",),
        False,
    ),
    Source("keys", ("table",), "word", list, "table", ("keys of the table",), False),
    Source("words", ("words",), "word", list, "words", ("words",)),
    Source("split", ("text",), "word", str.split, "text.split()", ("words of the text",)),
    Source("chars", ("text",), "char", list, "text", ("characters of the text",)),
)
