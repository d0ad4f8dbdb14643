"""Nested programs: transforms that map a row of numbers to one number."""

from __future__ import annotations

from src.pocket.programs.operators import Predicate, Reducer, Transform, fill, speak
from src.pocket.programs.predicates import INT_PREDICATES
from src.pocket.programs.reducers import COUNT, MAX, MIN, SUM


def _of_row(reducer: Reducer, test: Predicate | None) -> Transform:
    """A row's number: a reducer of ints over those of its elements for which `test` holds."""
    assert reducer.code is not None
    chosen = f"[x for x in {{arg}} if {fill(test.code, 'x')}]" if test else "{arg}"
    if reducer.code.endswith("({arg})") and not reducer.needs_list:
        chosen = chosen.strip("[]")
    noun = speak(test.short[0], "numbers") if test else "numbers"
    said = reducer.says[0].partition(",")[0]
    return Transform(
        f"row({reducer.key},{test.key if test else 'all'})",
        "row",
        "int",
        lambda row: reducer.apply([x for x in row if test.apply(x)] if test else row),
        reducer.code.replace("{arg}", chosen),
        (f"* taken as {speak(said, f'their {noun}')}",),
        (f"take {speak(said, f'the {noun}')} in each",),
    )


ROW_TRANSFORMS: tuple[tuple[Transform, ...], ...] = tuple(
    tuple(_of_row(reducer, test) for test in (None, *(group[0] for group in INT_PREDICATES)))
    for reducer in (SUM, COUNT, MAX[0], MIN[0])
)
