"""Rebuild an untrusted program's output from its bytes, with a decoder that only builds values.

`marshal.loads` is not safe on untrusted bytes and `pickle` runs code, so neither is used here. The decoder knows the
value types of marshal version 2, counts the elements and the memory of containers before it builds them, and refuses
values that are built to be large or slow.
"""

from __future__ import annotations

import collections
import decimal
import fractions
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from src.evaluation.sandbox.protocol import PLAIN, TAGGED

_INT32 = struct.Struct("<i")
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
MOST_COLLISIONS = 64  # in an honest set, hardly any two hashes are equal
_DTYPE = re.compile(r"[<>|=][biufcUS][1-9][0-9]{0,5}")
LARGEST_VALUE = 384 << 20  # bytes in memory, by the estimates below; the largest honest one takes 170 MB
_ELEMENT_BYTES, _HASHED_BYTES = 48, 112  # slot and a small value; a hash table has at most 2/3 of its slots in use
_CONTAINER_BYTES = 80
_DIGITS = 1 << 16  # of a long number at a time; a multiple of 8, since 8 digits are 15 bytes
LARGEST_NUMBER = 100_000  # bits or digits, for types whose arithmetic takes quadratic time
LARGEST_RANGE = 1_000_000


class Undecodable(Exception):
    """The bytes are not a value, or one that this side refuses to build."""


class Opaque:
    """A value without a safe form, with the name of its type; equal to nothing, not even to itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Opaque({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class Array(np.ndarray):
    """A program's array: `==` with more than one element has no truth value, and takes no memory to find that out.

    numpy would first build all comparisons, of an n x 1 array with m numbers n * m.
    """

    def __eq__(self, other: object) -> Any:
        if self.size > 1:
            raise ValueError("the truth value of an array with more than one element is ambiguous")
        return super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        return np.logical_not(self == other)

    __hash__ = None


def decode(kind: bytes, body: bytes) -> Any:
    """Rebuild the value of a frame's body.

    Args:
        kind: `protocol.PLAIN` or `protocol.TAGGED`.
        body: Bytes that the untrusted process claims to be its output.

    Raises:
        Undecodable: The bytes are malformed, or would take unreasonable time or depth.
    """
    try:
        value = _Reader(body).whole()
        if kind == PLAIN:
            return value
        if kind == TAGGED:
            return _untag(value)
    except Undecodable:
        raise
    except Exception as error:  # whatever forged bytes lead to: it must not end the run of all other programs
        raise Undecodable(f"{type(error).__name__}: {error}") from error
    raise Undecodable(f"unknown kind {kind!r}")


class _Reader:
    """Cursor over marshal bytes. Type codes: CPython's Python/marshal.c, version 2, values only."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0
        self.memory = 0

    def whole(self) -> Any:
        value = self.value()
        if self.at != len(self.body):
            raise Undecodable(f"{len(self.body) - self.at} trailing bytes")
        return value

    def value(self) -> Any:
        at = self.at
        self.at = at + 1
        code = self.body[at]
        if code == 0x69:  # i
            self.at = at + 5
            return _INT32.unpack_from(self.body, at + 1)[0]
        if code == 0x67:  # g
            self.at = at + 9
            return _FLOAT.unpack_from(self.body, at + 1)[0]
        return self._rare(code)

    def _rare(self, code: int) -> Any:
        constant = _CONSTANTS.get(code, _CONSTANTS)
        if constant is not _CONSTANTS:
            return constant
        if code == 0x6C:  # l
            return self._long()
        if code == 0x79:  # y
            return complex(*_COMPLEX.unpack(self._bytes(16)))
        if code in (0x75, 0x74, 0x73):  # u t s
            data = self._bytes(self._count(1))
            self._take(len(data) if data.isascii() else 4 * len(data))
            return data if code == 0x73 else data.decode("utf-8", "surrogatepass")
        if code == 0x7B:  # {
            return self._dict()
        if code in _COLLECTIONS:
            count = self._count(1)
            hashed = code in (0x3C, 0x3E)
            self._take((_CONTAINER_BYTES + hashed * 136) + count * (_HASHED_BYTES if hashed else _ELEMENT_BYTES))
            return _COLLECTIONS[code](self._items(count))
        raise Undecodable(f"unknown type code {code:#x}")

    def _bytes(self, size: int) -> bytes:
        start = self.at
        self.at = start + size
        if self.at > len(self.body):
            raise Undecodable("cut short")
        return self.body[start : self.at]

    def _count(self, each: int) -> int:
        count = int(_INT32.unpack(self._bytes(4))[0])
        if count < 0 or count * each > len(self.body) - self.at:
            raise Undecodable("a length beyond the end")
        return count

    def _take(self, memory: int) -> None:
        self.memory += memory
        if self.memory > LARGEST_VALUE:
            raise Undecodable("a value too large to build")

    def _items(self, count: int) -> list[Any]:
        value = self.value
        return [value() for _ in range(count)]

    def _long(self) -> int:
        digits = _INT32.unpack(self._bytes(4))[0]  # of 15 bits each; its sign is the number's
        data = np.frombuffer(self._bytes(2 * abs(digits)), "<u2")
        parts = []
        for start in range(0, len(data), _DIGITS):
            bits = (data[start : start + _DIGITS, None] >> np.arange(15, dtype=np.uint16)).astype(np.uint8) & 1
            parts.append(np.packbits(bits, bitorder="little").tobytes())
        number = int.from_bytes(b"".join(parts), "little")
        return -number if digits < 0 else number

    def _dict(self) -> dict[Any, Any]:
        keys, values = [], []
        self._take(_CONTAINER_BYTES + 136)
        while self.body[self.at] != 0x30:  # 0 ends it
            keys.append(self.value())
            values.append(self.value())
            self._take(_HASHED_BYTES + _ELEMENT_BYTES)
        self.at += 1
        refuse_collisions(keys)
        return dict(zip(keys, values, strict=True))


def refuse_collisions(items: Any) -> None:
    """Refuse items that were chosen to collide, so that hashing them takes quadratic time.

    Raises:
        Undecodable: More than `MOST_COLLISIONS` different items share a hash.
    """
    if len(items) <= MOST_COLLISIONS:
        return
    buckets: dict[int, list[Any]] = {}
    for item in items:
        known = buckets.setdefault(hash(item), [])
        if item not in known:
            if len(known) == MOST_COLLISIONS:
                raise Undecodable("values chosen to collide in a hash table")
            known.append(item)


def _hashed(build: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def checked(items: list[Any]) -> Any:
        refuse_collisions(items)
        return build(items)

    return checked


_CONSTANTS: dict[int, Any] = {0x4E: None, 0x54: True, 0x46: False, 0x2E: Ellipsis}  # N T F .
_COLLECTIONS: dict[int, Callable[[list[Any]], Any]] = {
    0x28: tuple,  # (
    0x5B: list,  # [
    0x3C: _hashed(set),  # <
    0x3E: _hashed(frozenset),  # >
}


# --- the tagged tree of guest.encode ----------------------------------------------------------------------------------
def _untag(tree: Any) -> Any:
    tag, *rest = tree
    if tag == "=":
        return rest[0]
    if tag == "opaque":
        return Opaque(str(rest[0]))
    if tag in _BUILD_FROM_ITEMS:
        return _BUILD_FROM_ITEMS[tag]([_untag(item) for item in rest[0]])
    if tag in ("dict", "Counter"):
        return _untag_mapping(tag, rest[0])
    if tag == "sub":
        base = rest[0]
        value = _untag(rest[1])
        if type(value).__name__ != base:  # `bytes` of a number, or `list` of a range, would grow
            raise Undecodable(f"a {type(value).__name__} as the view of a {base}")
        return _FOREIGN[base](value)
    return _BUILD_FROM_PARTS[tag](*rest)


def _untag_mapping(tag: str, pairs: list[Any]) -> dict[Any, Any]:
    keys = [_untag(key) for key, _ in pairs]
    refuse_collisions(keys)
    mapping: dict[Any, Any] = collections.Counter() if tag == "Counter" else {}
    for key, (_, value) in zip(keys, pairs, strict=True):
        mapping[key] = _untag(value)
    return mapping


def _numpy(dtype: str, shape: list[int], data: bytes, scalar: bool) -> Any:
    if not _DTYPE.fullmatch(dtype):
        raise Undecodable(f"numpy type {dtype!r}")
    array = np.frombuffer(data, np.dtype(dtype)).reshape([] if scalar else [int(side) for side in shape])
    return array[()] if scalar else array.copy().view(Array)


def _fraction(numerator: int, denominator: int) -> fractions.Fraction:
    if max(numerator.bit_length(), denominator.bit_length()) > LARGEST_NUMBER:
        raise Undecodable("a fraction too long to reduce")
    return fractions.Fraction(numerator, denominator)


def _bytearray(data: bytes) -> bytearray:
    if not isinstance(data, bytes):  # of a number, it would be that long
        raise Undecodable("a bytearray without bytes")
    return bytearray(data)


def _decimal(digits: str) -> decimal.Decimal:
    if not isinstance(digits, str) or len(digits) > LARGEST_NUMBER:
        raise Undecodable("a decimal too long to compare")
    return decimal.Decimal(digits)


def _range(start: int, stop: int, step: int) -> range:
    value = range(start, stop, step)
    if (stop - start) // step > LARGEST_RANGE:
        raise Undecodable("a range too long to walk")
    return value


_BUILD_FROM_ITEMS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": _hashed(set),
    "frozenset": _hashed(frozenset),
    "deque": collections.deque,
    "view": _hashed(set),  # the keys or items of a dict: equal to a set, never to a list
}
_BUILD_FROM_PARTS: dict[str, Callable[..., Any]] = {
    "range": _range,
    "bytearray": _bytearray,
    "Fraction": _fraction,
    "Decimal": _decimal,
    "ndarray": lambda dtype, shape, data: _numpy(dtype, shape, data, scalar=False),
    "generic": lambda dtype, shape, data: _numpy(dtype, shape, data, scalar=True),
}
# Values of a program's own subclasses: equal to what their base equals, but `type(a) == type(b)` is false.
_FOREIGN: dict[str, type] = {
    base.__name__: type(f"Foreign_{base.__name__}", (base,), {})
    for base in (int, float, complex, str, bytes, list, tuple, set, frozenset, dict)
}
