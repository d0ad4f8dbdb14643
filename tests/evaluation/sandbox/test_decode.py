"""The encoder in the sandbox and the decoder outside: what goes in comes out, and nothing else does."""

from __future__ import annotations

import collections
import decimal
import enum
import fractions
import marshal
import math
import random
import struct
import time
from typing import Any

import numpy as np
import pytest

from src.evaluation.sandbox.decode import Opaque, Undecodable, decode, refuse_collisions
from src.evaluation.sandbox.guest.encode import encode
from src.evaluation.sandbox.protocol import DIGEST, DIGEST_BODY, PLAIN, TAGGED

LIMIT = 1 << 24
PLAIN_VALUES = [
    None, True, False, 0, 1, -1, 2**31 - 1, 2**31, -(2**31) - 1, 10**40, -(10**40), 3**5000, 0.0, -0.0, 1e308, 0.1,
    math.inf, 1 + 2j, "", "text", "naïve ☃ 😀", "\udc80", b"", b"bytes", [], (), {}, set(), frozenset(),
    [1, [2, (3, {4: [5]})]], {"a": 1, (1, 2): {3}}, {frozenset({1, 2})}, [[]] * 3, ("x",) * 200, list(range(1000)),
]  # fmt: skip


def through(value: Any) -> Any:
    """As the trusted side sees it."""
    kind, body = encode(value, LIMIT)
    return decode(kind, body)


@pytest.mark.parametrize("value", PLAIN_VALUES, ids=repr)
def test_plain_values(value: Any) -> None:
    kind, body = encode(value, LIMIT)
    assert kind == PLAIN
    assert body == marshal.dumps(value, 2)
    back = decode(kind, body)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, set | frozenset)


def test_nan_comes_through() -> None:
    assert math.isnan(through([math.nan])[0])


class Celsius(float):
    pass


class Names(list):  # type: ignore[type-arg]
    pass


class Color(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Celsius(1.5), 1.5),
        (Names([1, 2]), [1, 2]),
        (Color.RED, 1),
        (Point(1, 2), (1, 2)),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(int, a=1), {"a": 1}),
        ([Celsius(1.5), {"k": Names([()])}], [1.5, {"k": [()]}]),
    ],
    ids=repr,
)
def test_subclasses_equal_their_base_but_are_not_of_its_type(value: Any, plain: Any) -> None:
    back = through(value)
    assert back == plain
    assert plain == back
    assert type(back) is not type(plain) or isinstance(plain, list)


@pytest.mark.parametrize(
    "value",
    [
        collections.Counter("abca"),
        collections.deque([1, 2]),
        bytearray(b"ab"),
        range(2, 10, 3),
        fractions.Fraction(1, 3),
        decimal.Decimal("1.10"),
        np.float64(0.1),
        np.int64(7),
        np.bool_(True),
        np.str_("x"),
    ],
    ids=repr,
)
def test_library_values(value: Any) -> None:
    back = through([value, 1])[0]
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.zeros((0, 3)),
        np.array([True]),
        np.array(["a", "bc"]),
        np.array(1.5),
        np.ones(3).T,
    ],
    ids=repr,
)
def test_arrays(array: np.ndarray) -> None:
    back = through(array)
    assert isinstance(back, np.ndarray)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert (np.asarray(back) == array).all()


def test_dict_views_equal_sets() -> None:
    assert through({1: "a", 2: "b"}.keys()) == {1, 2}
    assert through({1: "a"}.items()) == {(1, "a")}
    assert through({1: "a"}.keys()) != [1]


class Everything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class EverythingList(list):  # type: ignore[type-arg]
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("value", [Everything(), EverythingList(), object(), iter([1]), len, int, np.array([object()])])
def test_what_has_no_safe_form_equals_nothing(value: Any) -> None:
    back = through(value)
    assert isinstance(back, Opaque)
    assert back is not None
    for other in (None, True, 0, [], back):
        assert not back == other  # noqa: SIM201 (`!=` asks another method)
    assert through([value]) != [value]


def test_buffers_inside_containers_are_not_bytes() -> None:
    """marshal writes any buffer as bytes; the encoder looks first."""
    back = through([bytearray(b"ab"), np.float64(1.0)])
    assert [type(item) for item in back] == [bytearray, np.float64]


def test_long_bodies_become_digests() -> None:
    kind, body = encode("x" * 1000, 100)
    inner, size, digest = DIGEST_BODY.unpack(body)
    assert (kind, inner, size) == (DIGEST, PLAIN, len(marshal.dumps("x" * 1000, 2)))
    assert encode("x" * 999 + "y", 100)[1] != body
    assert len(digest) == 16


# --- hostile bytes ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[\x02\x00\x00\x00N",
        b"[\xff\xff\xff\x7f",
        b"(\xff\xff\xff\xff",
        b"u\x04\x00\x00\x00ab",
        b"u\x01\x00\x00\x00\xff",
        b"l\xff\xff\xff\x7f",
        b"l\x00\x00\x00\x80",
        b"NN",
        b"{NN",
        b"{[\x00\x00\x00\x00N0",
        b"<\x01\x00\x00\x00[\x00\x00\x00\x00",
        b"r\x00\x00\x00\x00",
        b"\xdbN",
        marshal.dumps(compile("1", "s", "eval")),
        marshal.dumps([1, 2, 3], 4)[:-1],
        b"[\x01\x00\x00\x00" * 5000 + b"N",
    ],
)
def test_malformed_marshal(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(PLAIN, body)


def tagged(tree: Any) -> bytes:
    return marshal.dumps(tree, 2)


@pytest.mark.parametrize(
    "tree",
    [
        (),
        [],
        5,
        ("=",),
        ("unknown", 1),
        ("list", 5),
        ("sub", "object", ("=", 1)),
        ("sub", "list"),
        ("dict", [(("list", []), ("=", 1))]),
        ("range", 0, 10**18, 1),
        ("range", 0, 1, 0),
        ("Fraction", 1, 0),
        ("Fraction", 2**200_000, 3),
        ("Decimal", "ten"),
        ("Decimal", "1" * 200_000),
        ("bytearray", 10**12),
        ("ndarray", "O", [1], b"12345678"),
        ("ndarray", "<f8", [10**9], b"12345678"),
        ("ndarray", "<f8", [1], b"1234567"),
        ("ndarray", "i4,i4", [1], b"12345678"),
        ("generic", "<U999999999", [], b""),
        ("set", [("list", [])]),
    ],
)
def test_malformed_trees(tree: Any) -> None:
    with pytest.raises(Undecodable):
        decode(TAGGED, tagged(tree))


def test_unknown_kind() -> None:
    with pytest.raises(Undecodable):
        decode(b"?", b"N")


def test_random_bytes_never_do_more_than_fail() -> None:
    rng = random.Random(0)
    seeds = [marshal.dumps(value, 2) for value in PLAIN_VALUES]
    outcomes = collections.Counter[bool]()
    for _ in range(3000):
        body = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            if body:
                body[rng.randrange(len(body))] = rng.randrange(256)
        for kind in (PLAIN, TAGGED):
            try:
                decode(kind, bytes(body))
                outcomes[True] += 1
            except Undecodable:
                outcomes[False] += 1
    assert outcomes[True] > 100 < outcomes[False]


@pytest.mark.parametrize("honest", [0, 15_000])
def test_set_chosen_to_collide_is_refused_quickly(honest: int) -> None:
    colliding = [number * (2**61 - 1) for number in range(1, 100_000)] + list(range(honest))  # most hash to 0
    items = b"".join(marshal.dumps(number, 2) for number in colliding)
    started = time.perf_counter()
    with pytest.raises(Undecodable, match="collide"):
        decode(PLAIN, b"<" + struct.pack("<i", len(colliding)) + items)
    assert time.perf_counter() - started < 5
    refuse_collisions(range(100_000))
    refuse_collisions([0] * 100_000)


def test_whatever_forged_bytes_lead_to_is_undecodable() -> None:
    for tree in (("Fraction", 1.5, 2), ("Fraction", "1", 2), ("dict", 5), ("sub", [], ("=", 1)), 7):
        with pytest.raises(Undecodable):
            decode(TAGGED, marshal.dumps(tree, 2))


def test_size_of_the_result_is_bounded_by_the_input() -> None:
    with pytest.raises(Undecodable):
        decode(PLAIN, b"[" + struct.pack("<i", 2**31 - 1) + b"N" * 100)
