"""Outputs made to cost the trusted process memory or time."""

from __future__ import annotations

import marshal
import struct
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from src.evaluation.grading.forms.oracles import Oracle
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import LARGEST_VALUE, Undecodable, decode
from src.evaluation.sandbox.worker import Worker
from tests.evaluation.sandbox.conftest import make_job, run_job


def send(body: str, kind: str = "P") -> str:
    """A program that writes a frame of its own making."""
    return f"""
import os, struct
def f():
    body = {body}
    data = memoryview(struct.pack('<cIdQ', b'{kind}', 0, 0.0, len(body)) + body)
    while data: data = data[os.write(3, data):]
    os._exit(0)
"""


@pytest.mark.parametrize("kind", "PTDEXSGO?")
def test_frame_beyond_the_jobs_limit_is_never_held(kind: str, worker: Worker) -> None:
    job = make_job(send("b'[' + b'\\1' * (40 << 20)", kind), inline=1 << 16)
    tracemalloc.start()
    frames, end = run_job(worker, job)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(frame.kind, frame.body) for frame in frames] == [(protocol.OVERLONG, b"")]
    assert end.reason == protocol.STOPPED
    assert peak < 8 << 20


BOMBS = {
    "empty sets": b"<\0\0\0\0",
    "empty lists": b"[\0\0\0\0",
    "empty dicts": b"{0",
    "texts": b"u\1\0\0\0x",
    "pairs": b"(\2\0\0\0NN",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("size", [1 << 18, pytest.param(16 << 20, marks=pytest.mark.slow)])
def test_element_count_is_limited_before_values_are_built(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = LARGEST_VALUE * size // (16 << 20)
    monkeypatch.setattr("src.evaluation.sandbox.decode.LARGEST_VALUE", limit)
    count = size // len(BOMBS[name])
    body = b"[" + struct.pack("<i", count) + BOMBS[name] * count
    tracemalloc.start()
    try:
        decode(protocol.PLAIN, body)
    except Undecodable as error:
        assert "too large" in str(error)  # noqa: PT017 (some of them fit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * limit


@pytest.mark.slow
def test_largest_honest_outputs_are_decoded() -> None:
    for value in (list(range(2_500_000)), [0.5] * 1_800_000, 7**5_000_000, {n: n for n in range(10**6)}):
        assert decode(protocol.PLAIN, marshal.dumps(value, protocol.MARSHAL_VERSION)) == value


@pytest.mark.parametrize("nested", [False, True])
def test_comparison_of_an_array_with_a_list_is_cheap(nested: bool) -> None:
    """numpy would compare each of the array's 60,000 elements with each of the list's."""
    sides, data = [60_000, 1], b"\1" * 60_000
    tree: Any = ("ndarray", "|u1", sides, data)
    body = marshal.dumps(("list", [tree]) if nested else tree, protocol.MARSHAL_VERSION)
    expected: Any = [list(range(13_000))] if nested else list(range(13_000))
    oracle = Oracle(Problem("T/0", "", "f", "", [[]], []))
    started = time.perf_counter()
    tracemalloc.start()
    output = decode(protocol.TAGGED, body)
    assert not oracle.is_right([], output, expected, floats_before=True, floats=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert time.perf_counter() - started < 1


FORGED: dict[str, Any] = {
    "bytearray of a number": ("bytearray", 2**31 - 1),
    "bytes of a number": ("sub", "bytes", ("=", 2**31 - 1)),
    "lists of ranges": ("list", [("sub", "list", ("range", 0, 10**6, 1))] * 800),
    "sets of ranges": ("list", [("sub", "set", ("range", 0, 10**6, 1))] * 800),
    "decimal of a tuple": ("Decimal", [0, [1] * 1000, 10**9]),
    "scalar that is an array": ("generic", "|u1", [60_000, 1], b"\1" * 60_000),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_trees_are_refused(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(Undecodable):
        decode(protocol.TAGGED, marshal.dumps(FORGED[name], protocol.MARSHAL_VERSION))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "items",
    [[("range", 0, 10**6, 1)] * 800, [("=", "x" * 60_000)] + [("=", "")] * 799],
    ids=["ranges", "one long text"],
)
def test_tolerance_does_not_make_small_outputs_large(items: list[Any]) -> None:
    """As an array, 800 ranges would take 6 GB, and 800 texts, one of them long, 190 MB."""
    oracle = Oracle(Problem("T/0", "", "f", "", [[]], [], atol=1e-6))
    output = decode(protocol.TAGGED, marshal.dumps(("list", items), protocol.MARSHAL_VERSION))
    tracemalloc.start()
    assert not oracle.is_right([], output, [0.5] * 800, floats_before=True, floats=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_arrays_of_one_element_still_compare() -> None:
    body = marshal.dumps(("ndarray", "<i8", [1], np.int64(7).tobytes()), protocol.MARSHAL_VERSION)
    assert bool(decode(protocol.TAGGED, body) == [7])
    assert bool(decode(protocol.TAGGED, body) != [8])
