"""A job for a sandbox, and the frames that it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from src.evaluation.sandbox import protocol

FILE_BYTES = 16 << 20  # maximum size of a file that a program writes
DESCRIPTION_BYTES = 1024  # more than any description or digest needs


@dataclass(frozen=True)
class Job:
    """A program with its inputs and limits.

    Attributes:
        candidates: Source texts; the first that compiles is run.
        entry_point: Name of the function to call.
        inputs: Marshal of a list of argument lists.
        cpu_limits: CPU seconds for loading, then for every input.
        cpu_total: CPU seconds for the whole program.
        memory: Bytes of address space.
        inline: Maximum size in bytes of an output that is sent whole; for longer ones, the digest is sent.
        collect: Send the elements of an output that is an iterator, as a list.
        trusted: A reference solution. Trusted and other programs never share a server.
        tests: Arguments of `guest.tests.ProgramTests`: tests to run in the program's process, as the only input, which
            takes no arguments; None: call the entry point.
    """

    candidates: tuple[str, ...]
    entry_point: str
    inputs: bytes
    cpu_limits: tuple[float, ...]
    cpu_total: float
    memory: int
    inline: int
    collect: bool = False
    trusted: bool = False
    tests: dict[str, Any] | None = None

    def limits(self) -> dict[str, Any]:
        """Return the message to the server."""
        return {"cpu_limits": list(self.cpu_limits), "cpu": self.cpu_total}

    def program(self) -> dict[str, Any]:
        """Return the message to the program's own process."""
        return {
            "candidates": list(self.candidates),
            "entry_point": self.entry_point,
            "inputs": self.inputs,
            "cpu": self.cpu_total,
            "memory": self.memory,
            "inline": self.inline,
            "collect": self.collect,
            "file": FILE_BYTES,
            "tests": self.tests,
        }

    @property
    def longest_frame(self) -> int:
        """Bytes of the longest body that an honest process sends."""
        return max(self.inline, DESCRIPTION_BYTES)

    @property
    def patience(self) -> float:
        """Wall-clock seconds without a right output after which the program cannot be telling the truth about progress.

        A buffered frame arrives with the next one, hence twice the limit of an input.
        """
        return 2 * protocol.wall_limit(max(self.cpu_limits[1:] or self.cpu_limits))


@dataclass(frozen=True)
class Frame:
    """Claim of a program's process about one input (see `protocol`)."""

    kind: bytes
    index: int
    seconds: float
    body: bytes


@dataclass(frozen=True)
class End:
    """End of a program, as the server reports it.

    Attributes:
        reason: `protocol.EXITED`, `STOPPED`, `CPU_LIMIT` or `WALL_LIMIT`.
        status: Wait status of the process.
        cpu: CPU seconds used.
        wall: Seconds from fork to end.
        memory: Peak resident bytes.
    """

    reason: str
    status: int
    cpu: float
    wall: float
    memory: int


class FrameReader:
    """Split the byte stream into frames; invalid bytes count as a wrong output.

    Args:
        check: Called for each frame; False settles the result.
        longest: Bytes of the longest body; a longer frame is invalid, and never held in memory.
    """

    def __init__(self, check: Callable[[Frame], bool], longest: int) -> None:
        self.check = check
        self.longest = longest
        self.buffer = bytearray()
        self.accepted = 0
        self.settled = False

    def feed(self, part: bytes) -> None:
        if self.settled:
            return  # the result is known; further output is discarded
        self.buffer += part
        header, at, end = protocol.FRAME, 0, len(self.buffer)
        while not self.settled and end - at >= header.size:
            kind, index, seconds, size = header.unpack_from(self.buffer, at)
            if size > self.longest:
                self.settled = True
                self.check(Frame(protocol.OVERLONG, index, seconds, b""))
            if self.settled or end - at - header.size < size:
                break
            start = at + header.size
            at = start + size
            self.settled = not self.check(Frame(kind, index, seconds, bytes(self.buffer[start:at])))
            self.accepted += 1
        del self.buffer[: end if self.settled else at]
