"""One sandbox with its server: send a program, check its frames as they arrive, stop it once its result is known."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from typing import IO, Any

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.jobs import End, Frame, FrameReader, Job
from src.evaluation.sandbox.launch import SCRATCH, Launch, environment

PIPE_BYTES = 1 << 20  # of a program's own pipe: whatever it does to it is over with the program
START_SECONDS = 60.0
GRACE_SECONDS = 60.0  # for a server to clean up after its program; after that, the sandbox is replaced
CHUNKS = 16  # reads at a time: a program that never stops writing must not keep us from stopping it
_F_SETPIPE_SZ = 1031


class WorkerDied(Exception):
    """The sandbox itself died or did not start; the message is its last output."""


class Worker:
    """A running sandbox. Not thread-safe: use one thread per worker.

    Args:
        launch: How it starts.
        hash_seed: Python's hash seed of the programs; that of reference solutions is always 0.
    """

    def __init__(self, launch: Launch, hash_seed: int = 0) -> None:
        self.launch = launch
        self.hash_seed = hash_seed
        self._started_with = hash_seed
        self._process: subprocess.Popen[bytes] | None = None
        self._finish: Callable[[], object] = _nothing
        self._modules: set[str] = set()
        self._imported: set[str] = set()
        self._trusted: bool | None = None  # the kind of programs that the server has run; None: none yet

    @property
    def pid(self) -> int | None:
        """Process number of the sandbox, where it runs."""
        return None if self._process is None else self._process.pid

    def start(self, trusted: bool = False) -> None:
        """Start the sandbox and wait until its server is ready.

        Args:
            trusted: For reference solutions.

        Raises:
            WorkerDied: It did not come up.
        """
        self.close()
        self._started_with = 0 if trusted else self.hash_seed
        self._scratch = None if self.launch.alone else tempfile.mkdtemp(prefix="program-")
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._control, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            self.launch.command,
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(self._started_with),
            cwd="/",
            bufsize=0,
            start_new_session=True,  # Ctrl-C reaches only us, and we end the sandboxes in order
        )
        theirs.close()
        # Without `close`, a worker ends with its last reference, or at the latest when Python exits.
        self._finish = weakref.finalize(self, _finish, self._process, self._errors, self._control, self._scratch)
        self._tell(self.launch.settings(self._scratch or SCRATCH, self._control.fileno()))
        self._hear(START_SECONDS)
        self.warm(set())

    def warm(self, modules: set[str]) -> None:
        """Have the server import `modules` once, so that no program pays for them."""
        self._modules |= modules
        new = self._modules - self._imported
        if new and self._process is not None:
            self._tell({"import": sorted(new)})
            self._imported |= new

    def run(self, job: Job, check: Callable[[Frame], bool]) -> End:
        """Run one program.

        Args:
            job: The program.
            check: Called for each frame in order; False ends the program at once.

        Raises:
            WorkerDied: The sandbox died while the program ran.
        """
        mixed = self._trusted is (not job.trusted) or self._started_with != (0 if job.trusted else self.hash_seed)
        if self._process is None or self._process.poll() is not None or mixed:
            self.start(job.trusted)
        self._trusted = job.trusted
        data_in, data_out = _frame_pipe()
        try:
            with os.fdopen(data_out, "wb"), _in_memory(job.program()) as program:
                self._tell(job.limits(), (program, data_out))
            message = self._follow(data_in, job, FrameReader(check, job.longest_frame))
        finally:
            os.close(data_in)
        if not message.pop("clean"):
            self.close()  # the program left something behind: the next one gets a new sandbox
        del message["index"]
        return End(**message)

    def close(self) -> None:
        """End the sandbox and everything in it."""
        self._process, self._imported, self._trusted = None, set(), None
        self._finish()

    def _follow(self, data: int, job: Job, reader: FrameReader) -> dict[str, Any]:
        """Feed frames to `reader` until the server says how the program ended, then those left in the pipe."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        watched = select.poll()
        watched.register(data, select.POLLIN)
        watched.register(process.stdout, select.POLLIN)
        now = time.monotonic()
        deadline = now + protocol.wall_limit(job.cpu_total) + GRACE_SECONDS
        due = now + protocol.wall_limit(job.cpu_limits[0]) + job.patience  # for the next right output
        stopped = stalled = False
        while True:
            until = deadline if stopped else min(deadline, due)
            events = dict(watched.poll(max(0.0, 1000 * (until - time.monotonic()))))
            if data in events:
                accepted = reader.accepted
                if not _drain(data, reader):
                    watched.unregister(data)  # the program has closed it
                if reader.accepted > accepted:
                    due = time.monotonic() + job.patience
            if process.stdout.fileno() in events:
                message = self._hear(START_SECONDS)
                _drain(data, reader, PIPE_BYTES)
                if stalled and message["reason"] == protocol.STOPPED:
                    message["reason"] = protocol.WALL_LIMIT
                return message
            stalled = stalled or (not events and time.monotonic() > due)
            if (reader.settled or stalled) and not stopped:
                stopped = True
                self._stop()
            if time.monotonic() > deadline:
                raise self._dead()

    def _stop(self) -> None:
        with contextlib.suppress(OSError):  # the pipe tells what happened to the server
            self._control.send(protocol.STOP)

    def _tell(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        body = marshal.dumps(message, protocol.MARSHAL_VERSION)
        data = protocol.MESSAGE + protocol.LENGTH.pack(len(body)) + body
        try:
            sent = socket.send_fds(self._control, [data], descriptors)
            self._control.sendall(data[sent:])
        except OSError as error:
            raise self._dead() from error

    def _hear(self, timeout: float) -> dict[str, Any]:
        header = self._read(protocol.LENGTH.size, time.monotonic() + timeout)
        body = self._read(protocol.LENGTH.unpack(header)[0], time.monotonic() + timeout)
        message: dict[str, Any] = marshal.loads(body)
        return message

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        data = b""
        watched = select.poll()
        watched.register(self._process.stdout, select.POLLIN)
        while len(data) < size:
            ready = watched.poll(max(0.0, 1000 * (deadline - time.monotonic())))
            part = self._process.stdout.read(size - len(data)) if ready else b""
            if not part:
                raise self._dead()
            data += part
        return data

    def _dead(self) -> WorkerDied:
        """Close the worker and return the sandbox's reason."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self.close()
        return WorkerDied(lines[-1][:300] if lines else "the sandbox ended without a message")


def _nothing() -> None:
    """Clean up a worker that has not started: nothing to do."""


def _frame_pipe() -> tuple[int, int]:
    data_in, data_out = os.pipe()
    with contextlib.suppress(OSError):  # beyond the user's share of pipe memory it stays small
        fcntl.fcntl(data_in, _F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(data_in, False)
    return data_in, data_out


@contextlib.contextmanager
def _in_memory(message: dict[str, Any]) -> Iterator[int]:
    """Descriptor of a file in memory with the marshaled message."""
    with os.fdopen(os.memfd_create("program"), "wb", buffering=0) as file:
        view = memoryview(marshal.dumps(message, protocol.MARSHAL_VERSION))
        while view:
            view = view[file.write(view) :]
        file.seek(0)
        yield file.fileno()


def _drain(data: int, reader: FrameReader, chunks: int = CHUNKS) -> bool:
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


def _finish(process: subprocess.Popen[bytes], errors: IO[bytes], control: socket.socket, scratch: str | None) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    for stream in (process.stdout, errors, control):
        stream.close()
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
