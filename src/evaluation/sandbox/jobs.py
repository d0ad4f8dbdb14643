"""A job for a sandbox, and the frames that it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from src.evaluation.sandbox import protocol

FILE_BYTES = 16 << 20  # maximum size of a file that a program writes
MAX_BODY_BYTES = 64 << 20  # a longer frame is invalid


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
    """

    candidates: tuple[str, ...]
    entry_point: str
    inputs: bytes
    cpu_limits: tuple[float, ...]
    cpu_total: float
    memory: int
    inline: int
    collect: bool = False

    def message(self) -> dict[str, Any]:
        """Return the message to the server."""
        return {
            "candidates": list(self.candidates),
            "entry_point": self.entry_point,
            "inputs": self.inputs,
            "cpu_limits": list(self.cpu_limits),
            "cpu": self.cpu_total,
            "memory": self.memory,
            "inline": self.inline,
            "collect": self.collect,
            "file": FILE_BYTES,
        }


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
    """Split the byte stream into frames; invalid bytes count as a wrong output."""

    def __init__(self, check: Callable[[Frame], bool]) -> None:
        self.check = check
        self.buffer = bytearray()
        self.settled = False

    def feed(self, part: bytes) -> None:
        if self.settled:
            return  # the result is known; further output is discarded
        self.buffer += part
        header, at, end = protocol.FRAME, 0, len(self.buffer)
        while not self.settled and end - at >= header.size:
            kind, index, seconds, size = header.unpack_from(self.buffer, at)
            if size > MAX_BODY_BYTES:
                self.settled = True
            if end - at - header.size < size:
                break
            start = at + header.size
            at = start + size
            self.settled = self.settled or not self.check(Frame(kind, index, seconds, bytes(self.buffer[start:at])))
        del self.buffer[:at]
