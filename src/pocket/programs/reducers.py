"""The catalog of reducers: groups of functions from a sequence to a program's result."""

from __future__ import annotations

from math import prod

from src.pocket.programs.operators import Fold, Predicate, Reducer, Transform, speak, spoken
from src.pocket.programs.predicates import PREDICATES
from src.pocket.programs.transforms import TRANSFORMS


def _any_of(test: Predicate) -> Reducer:
    says = (f"whether any of * {test.singular[0]}",)
    fold = Fold("", f"if {test.code}:\n    return True", "False")
    return Reducer(
        f"any({test.key})", test.takes, lambda v: any(map(test.apply, v)), "any({arg})", says, fold, each=test.code
    )


def _all_of(test: Predicate) -> Reducer:
    says = (f"whether all of * {test.plural[0]}",)
    fold = Fold("", f"if not ({test.code}):\n    return False", "True")
    return Reducer(
        f"all({test.key})", test.takes, lambda v: all(map(test.apply, v)), "all({arg})", says, fold, each=test.code
    )


def _table_of(change: Transform) -> Reducer:
    says = (f"a dictionary from * to {speak(change.says[0], 'themselves')}",)
    fold = Fold("result = {}", f"result[{{arg}}] = {change.code}", "result")
    each = "{x}: " + change.code
    return Reducer(
        f"table({change.key})",
        change.takes,
        lambda v: {x: change.apply(x) for x in v},
        "{{arg}}",
        says,
        fold,
        each=each,
    )


def _extreme(name: str, default: int) -> Reducer:
    best = {"max": max, "min": min}[name]
    adjectives = {"max": ("largest", "maximum"), "min": ("smallest", "minimum")}[name]
    return Reducer(
        f"{name}({default})",
        "int",
        lambda v: best(v, default=default),
        f"{name}({{arg}}, default={default})",
        tuple(f"the {word} of *, or {spoken(default)} if none" for word in adjectives),
    )


def _end(name: str, index: int) -> Reducer:
    return Reducer(
        name,
        "int",
        lambda v: v[index] if v else 0,
        f"{{x}}[{index}] if {{x}} else 0",
        (f"the {name} of *, or zero if none",),
        needs_list=True,
    )


def _joined(separator: str, name: str) -> Reducer:
    return Reducer(
        f"join({separator!r})", "word", separator.join, f"{separator!r}.join({{arg}})", (f"* joined with {name}",)
    )


def _extreme_word(name: str, adjective: str) -> Reducer:
    best = {"max": max, "min": min}[name]
    return Reducer(
        adjective,
        "word",
        lambda v: best(v, key=len, default=""),
        f"{name}({{arg}}, key=len, default='')",
        (f"the {adjective} of *, or '' if none",),
    )


COUNT = Reducer(
    "count",
    "any",
    len,
    "len({arg})",
    ("the number of *", "the count of *"),
    Fold("count = 0", "count += 1", "count"),
    needs_list=True,
)
LIST = Reducer(
    "list",
    "any",
    list,
    "{arg}",
    ("the list of *", "a list of *"),
    Fold("result = []", "result.append({arg})", "result"),
    needs_list=True,
)
STRING = Reducer(
    "string", "char", "".join, "''.join({arg})", ("the string of *",), Fold("result = ''", "result += {x}", "result")
)
SUM = Reducer(
    "sum", "int", sum, "sum({arg})", ("the sum of *", "the total of *"), Fold("total = 0", "total += {arg}", "total")
)
PRODUCT = Reducer(
    "product", "int", prod, None, ("the product of *",), Fold("product = 1", "product *= {arg}", "product")
)
MEAN = Reducer(
    "mean",
    "int",
    lambda v: sum(v) / len(v) if v else 0,
    "sum({x}) / len({x}) if {x} else 0",
    ("the mean of *, or zero if none",),
    needs_list=True,
)

MAX = tuple(_extreme("max", default) for default in (0, -1))
MIN = tuple(_extreme("min", default) for default in (0, -1))

_OF_INTS: tuple[tuple[Reducer, ...], ...] = (
    (SUM,),
    (PRODUCT,),
    (MEAN,),
    MAX,
    MIN,
    (_end("first", 0),),
    (_end("last", -1),),
)
_OF_WORDS: tuple[tuple[Reducer, ...], ...] = (
    tuple(_joined(separator, name) for separator, name in ((" ", "spaces"), ("-", "dashes"))),
    (_extreme_word("max", "longest"),),
    (_extreme_word("min", "shortest"),),
)
_OF_ANY: tuple[tuple[Reducer, ...], ...] = ((LIST,), (COUNT,))


def _questions(kind: str) -> tuple[tuple[Reducer, ...], ...]:
    tests = [test for group in PREDICATES[kind] for test in group]
    return tuple(_any_of(test) for test in tests), tuple(_all_of(test) for test in tests)


def _tables(kind: str) -> tuple[tuple[Reducer, ...], ...]:
    return (tuple(_table_of(change) for group in TRANSFORMS[kind] for change in group),)


REDUCERS: dict[str, tuple[tuple[Reducer, ...], ...]] = {
    "int": (*_OF_INTS, *_OF_ANY, *_questions("int"), *_tables("int")),
    "char": ((STRING,), (STRING,), (COUNT,), *_questions("char")),
    "word": (*_OF_WORDS, *_OF_ANY, *_questions("word"), *_tables("word")),
}
