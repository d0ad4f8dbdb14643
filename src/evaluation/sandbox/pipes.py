"""Descriptors of one program: a file in memory that holds its job, and pipes for what it writes."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
from collections.abc import Iterator
from typing import Any

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.jobs import FrameReader
from src.evaluation.sandbox.processes import OutputReader

PIPE_BYTES = 1 << 20  # of a program's own pipe: whatever it does to it is over with the program
CHUNKS = 16  # reads at a time: a program that never stops writing must not keep us from stopping it
_F_SETPIPE_SZ = 1031

Reader = FrameReader | OutputReader


def frame_pipe() -> tuple[int, int]:
    """Open a pipe of a program's own: the end that we read, without waiting, and the end that it writes."""
    data_in, data_out = os.pipe()
    with contextlib.suppress(OSError):  # beyond the user's share of pipe memory it stays small
        fcntl.fcntl(data_in, _F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(data_in, False)
    return data_in, data_out


@contextlib.contextmanager
def in_memory(message: dict[str, Any]) -> Iterator[int]:
    """Descriptor of a file in memory with the marshaled message."""
    with os.fdopen(os.memfd_create("program"), "wb", buffering=0) as file:
        view = memoryview(marshal.dumps(message, protocol.MARSHAL_VERSION))
        while view:
            view = view[file.write(view) :]
        file.seek(0)
        yield file.fileno()


def drain(data: int, reader: Reader, chunks: int = CHUNKS) -> bool:
    """Feed what the pipe holds to `reader`; return False at its end."""
    for _ in range(chunks):
        try:
            part = os.read(data, PIPE_BYTES)
        except BlockingIOError:
            return True
        if not part:
            return False
        reader.feed(part)
    return True
