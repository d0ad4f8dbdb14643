"""What reference solutions answered and how long they took, and the files in which that is kept."""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SMALL_BYTES = 1 << 16  # of a longer output the digest is kept, and the bytes, compressed, once somebody asks for them
DIGEST_BYTES = 32


class Expected(NamedTuple):
    """One expected output.

    Attributes:
        kind: `protocol.PLAIN` or `protocol.TAGGED`.
        size: Length of its bytes.
        digest: BLAKE2b-128 of its bytes.
        packed: The bytes, compressed where longer than `SMALL_BYTES`; None where they are not kept.
        exact: Equal bytes mean equal values (not so with NaN, or outside the built-in types).
        floats: EvalPlus's `is_floats`.
    """

    kind: bytes
    size: int
    digest: bytes
    packed: bytes | None
    exact: bool
    floats: bool

    def body(self) -> bytes | None:
        """Its bytes, where they were kept."""
        if self.packed is None or self.size <= SMALL_BYTES:
            return self.packed
        return zlib.decompress(self.packed)


@dataclass(frozen=True)
class Suite:
    """Expected outputs of one list of inputs.

    Attributes:
        expected: One an input.
        seconds: CPU seconds of the reference solution, one an input.
        first_float: Index of the first expected output that consists of floats; len(expected) if none does.
    """

    expected: tuple[Expected, ...]
    seconds: tuple[float, ...]
    first_float: int


@dataclass(frozen=True)
class Truth:
    """Both suites of a problem."""

    base: Suite
    plus: Suite

    @property
    def seconds(self) -> float:
        """CPU seconds of the reference solution over both suites."""
        return sum(self.base.seconds) + sum(self.plus.seconds)


def read_truth(path: Path) -> Truth | None:
    """A file of `write_truth`; None where there is none, or a full disk or a kill cut it short."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
        return None
    return Truth(
        *(
            Suite(tuple(map(Expected._make, expected)), tuple(seconds), first_float)
            for expected, seconds, first_float in marshal.loads(content[DIGEST_BYTES:])
        )
    )


def write_truth(path: Path, truth: Truth) -> None:
    """Keep `truth` at `path`, whole or not at all."""
    content = marshal.dumps(
        [
            ([tuple(item) for item in suite.expected], suite.seconds, suite.first_float)
            for suite in (truth.base, truth.plus)
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:  # no fsync: a broken file is noticed by its digest
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
