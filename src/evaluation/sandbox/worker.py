"""One sandbox with its server: send a program, check its frames as they arrive, stop it once its result is known."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import select
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable
from typing import IO, Any

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.jobs import End, Frame, FrameReader, Job
from src.evaluation.sandbox.launch import SCRATCH, Launch, environment

PIPE_BYTES = 1 << 20
START_SECONDS = 60.0
GRACE_SECONDS = 60.0  # for a server to clean up after its program; after that, the sandbox is replaced
CHUNKS = 16  # reads at a time: a program that never stops writing must not keep us from stopping it
_F_SETPIPE_SZ = 1031


class WorkerDied(Exception):
    """The sandbox itself died or did not start; the message is its last output."""


class Worker:
    """A running sandbox. Not thread-safe: use one thread per worker."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._finish: Callable[[], object] = _nothing
        self._modules: set[str] = set()
        self._imported: set[str] = set()

    @property
    def pid(self) -> int | None:
        """Process number of the sandbox, where it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the sandbox and wait until its server is ready.

        Raises:
            WorkerDied: It did not come up.
        """
        self.close()
        self._scratch = None if self.launch.alone else tempfile.mkdtemp(prefix="program-")
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        data_in, data_out = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(data_in, _F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(data_in, False)
        self._data = data_in
        self._process = subprocess.Popen(
            self.launch.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=(data_out,),
            env=environment(),
            cwd="/",
            bufsize=0,
            start_new_session=True,  # Ctrl-C reaches only us, and we end the sandboxes in order
        )
        os.close(data_out)
        # Without `close`, a worker ends with its last reference, or at the latest when Python exits.
        self._finish = weakref.finalize(self, _finish, self._process, self._errors, data_in, self._scratch)
        self._tell(self.launch.settings(self._scratch or SCRATCH, data_out))
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
        if self._process is None or self._process.poll() is not None:
            self.start()
        self._tell(job.message())
        message = self._follow(
            FrameReader(check), time.monotonic() + protocol.wall_limit(job.cpu_total) + GRACE_SECONDS
        )
        if not message.pop("clean"):
            self.close()  # the program left something behind: the next one gets a new sandbox
        del message["index"]
        return End(**message)

    def close(self) -> None:
        """End the sandbox and everything in it."""
        self._process, self._imported = None, set()
        self._finish()

    def _follow(self, reader: FrameReader, deadline: float) -> dict[str, Any]:
        """Feed frames to `reader` until the server says how the program ended, then those left in the pipe."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        watched = select.poll()
        watched.register(self._data, select.POLLIN)
        watched.register(process.stdout, select.POLLIN)
        stopped = False
        while True:
            events = dict(watched.poll(max(0.0, 1000 * (deadline - time.monotonic()))))
            if self._data in events:
                self._drain(reader)
                if reader.settled and not stopped:
                    stopped = True
                    self._stop()
            if process.stdout.fileno() in events:
                message = self._hear(START_SECONDS)
                self._drain(reader, PIPE_BYTES)
                return message
            if time.monotonic() > deadline:
                raise self._dead()

    def _stop(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the other pipe tells what happened to the server
            self._process.stdin.write(protocol.STOP)

    def _drain(self, reader: FrameReader, chunks: int = CHUNKS) -> None:
        for _ in range(chunks):
            try:
                part = os.read(self._data, PIPE_BYTES)
            except BlockingIOError:
                return
            if not part:
                return
            reader.feed(part)

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        body = marshal.dumps(message, protocol.MARSHAL_VERSION)
        view = memoryview(protocol.MESSAGE + protocol.LENGTH.pack(len(body)) + body)
        try:
            while view:
                view = view[self._process.stdin.write(view) :]
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


def _finish(process: subprocess.Popen[bytes], errors: IO[bytes], data: int, scratch: str | None) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, errors):
        assert stream is not None
        stream.close()
    os.close(data)
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
