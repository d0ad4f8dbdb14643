"""Encode a program's output as bytes that the trusted side can compare without running the program's code.

Plain values (exact built-in types all the way down) go through `marshal` at C speed. All others become a tagged tree of
tuples, so that the other side can rebuild subclasses of built-ins, numpy values and the like, and tell them from plain
ones. A value without a safe form (an instance of the program's own class, a generator) is sent as its type name and
equals nothing.
"""

from __future__ import annotations

import collections
import decimal
import fractions
import hashlib
import marshal
import sys
from collections.abc import Callable
from typing import Any

from src.evaluation.sandbox.protocol import DIGEST, DIGEST_BODY, MARSHAL_VERSION, PLAIN, TAGGED

SCALARS = frozenset({int, float, complex, str, bytes, bool, type(None)})
SEQUENCES = frozenset({list, tuple, set, frozenset})
DEEP_CHECK_BYTES = 1 << 20  # larger values are checked only one level deep: a full check costs more than sending


def encode(value: Any, inline: int, collect: bool = False) -> tuple[bytes, bytes]:
    """Return kind and body of the frame for `value`.

    Args:
        value: Return value of the program.
        inline: Bodies longer than this many bytes are replaced by their digest.
        collect: Send the elements of an iterator, or of an iterable without a form, as a list.

    Raises:
        Exception: Raised by a hostile object while it is inspected; the caller reports it as the program's own.
    """
    kind, body = _body(value, collect)
    if len(body) <= inline:
        return kind, body
    return DIGEST, DIGEST_BODY.pack(kind, len(body), hashlib.blake2b(body, digest_size=16).digest())


def _body(value: Any, collect: bool) -> tuple[bytes, bytes]:
    try:
        body = marshal.dumps(value, MARSHAL_VERSION)
    except ValueError:  # contains something that marshal does not know
        tree = _tagged(value)
        if collect and tree[0] == "opaque":
            return _body(list(value), collect=False)
        return TAGGED, marshal.dumps(tree, MARSHAL_VERSION)
    # marshal writes anything with a buffer (bytearray, numpy) as bytes, so its success does not imply a plain value.
    deep = len(body) <= DEEP_CHECK_BYTES
    if _is_plain(value, deep):
        return PLAIN, body
    return TAGGED, marshal.dumps(_tagged(value), MARSHAL_VERSION)


def _is_plain(value: Any, deep: bool) -> bool:
    kind = type(value)
    if kind in SCALARS:
        return True
    if kind is dict:
        return _are_plain(value.keys(), deep) and _are_plain(value.values(), deep)
    return kind in SEQUENCES and _are_plain(value, deep)


def _are_plain(values: Any, deep: bool) -> bool:
    kinds = set(map(type, values))
    if kinds <= SCALARS:
        return True
    if not deep:
        return kinds <= SCALARS | SEQUENCES | {dict}
    return all(_is_plain(value, deep) for value in values if type(value) not in SCALARS)


def _tagged(value: Any) -> tuple[Any, ...]:
    """The tree: `("=", plain scalar)`, `("list", [...])`, ..., `("sub", base name, tree)`, `("opaque", type name)`."""
    kind = type(value)
    if kind in SCALARS:
        return ("=", value)
    if kind in SEQUENCES:
        return (kind.__name__, [_tagged(item) for item in value])
    if kind is dict or kind is collections.Counter:
        return (kind.__name__, [(_tagged(key), _tagged(item)) for key, item in value.items()])
    return _tagged_library(value, kind) or _tagged_subclass(value, kind) or ("opaque", kind.__name__)


def _tagged_library(value: Any, kind: type) -> tuple[Any, ...] | None:
    if kind is range:
        return ("range", value.start, value.stop, value.step)
    if kind is bytearray:
        return ("bytearray", bytes(value))
    if kind is collections.deque:
        return ("deque", [_tagged(item) for item in value])
    if kind is fractions.Fraction:
        return ("Fraction", value.numerator, value.denominator)
    if kind is decimal.Decimal:
        return ("Decimal", str(value))
    if kind in (type({}.keys()), type({}.items())):
        return ("view", [_tagged(item) for item in value])
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _tagged_numpy(value, numpy)
    return None


def _tagged_numpy(value: Any, numpy: Any) -> tuple[Any, ...]:
    if value.dtype.kind not in "biufcUS":
        return ("opaque", str(value.dtype))
    name = "ndarray" if isinstance(value, numpy.ndarray) else "generic"
    return (name, value.dtype.str, list(numpy.shape(value)), numpy.ascontiguousarray(value).tobytes())


def _tagged_subclass(value: Any, kind: type) -> tuple[Any, ...] | None:
    """A subclass of a built-in that compares as its base does; one with its own `__eq__` is opaque."""
    for base, plain in _PLAIN_VIEWS:
        if isinstance(value, base):
            if kind.__eq__ is not base.__eq__ and kind is not collections.OrderedDict:
                return None
            return ("sub", base.__name__, _tagged(plain(value)))
    return None


# The base class's view of a value, bypassing overridden methods.
_PLAIN_VIEWS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (complex, complex.__pos__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: tuple(tuple.__iter__(value))),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
    (dict, lambda value: dict(dict.items(value))),
)
