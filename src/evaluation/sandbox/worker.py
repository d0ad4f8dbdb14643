"""One sandbox with its server: send a program, check its frames as they arrive, stop it once its result is known."""

from __future__ import annotations

import contextlib
import marshal
import math
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.jobs import End, Frame, FrameReader, Job
from src.evaluation.sandbox.launch import SCRATCH, Extra, Launch, environment
from src.evaluation.sandbox.pipes import PIPE_BYTES, Reader, drain, frame_pipe, in_memory
from src.evaluation.sandbox.processes import ERROR_BYTES, OutputReader, ProcessJob, ProcessResult

START_SECONDS = 60.0
GRACE_SECONDS = 60.0  # for a server to clean up after its program; after that, the sandbox is replaced
REFERENCES, PROGRAMS, COMMANDS = "references", "programs", "commands"  # they never share a server


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
        self._domain = ""  # the kind of programs that the server has run; empty: none yet
        self._for_commands: dict[Extra, Worker] = {}
        self._kept = False  # the server holds the files of a job with `keep`

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
        self._prepare(REFERENCES if job.trusted else PROGRAMS)
        first = protocol.wall_limit(job.cpu_limits[0]) + job.patience
        reader = FrameReader(check, job.longest_frame)
        return self._send_and_follow(job, job.limits(), (reader,), job.cpu_total, first, job.patience)

    def run_process(self, job: ProcessJob) -> ProcessResult:
        """Run one command.

        Args:
            job: The command; with `continues`, the last job with `keep` must have ended with exit code 0.

        Raises:
            WorkerDied: The sandbox died while the command ran, or no longer has the files that it needs.
        """
        self._prepare(COMMANDS)
        if job.continues and not self._kept:
            raise WorkerDied("the files of the program are lost with the sandbox that held them")
        self._kept = job.continues
        out, errors = OutputReader(job.output_bytes, fatal=True), OutputReader(ERROR_BYTES, fatal=False)
        end = self._send_and_follow(job, job.message(), (out, errors), job.cpu, math.inf, math.inf)
        kept = job.continues or (job.keep and end.status == 0)
        self._kept = kept and self._process is not None
        return ProcessResult(end, bytes(out.data), bytes(errors.data), out.overlong)

    def for_commands(self, extra: Extra) -> Worker:
        """Return a worker in the same isolation with additions for commands; it closes with this one."""
        if extra not in self._for_commands:
            self._for_commands[extra] = Worker(self.launch.with_extra(extra), self.hash_seed)
        return self._for_commands[extra]

    def close(self) -> None:
        """End the sandbox and everything in it."""
        for worker in self._for_commands.values():
            worker.close()
        self._process, self._imported, self._domain, self._kept = None, set(), "", False
        self._finish()

    def _prepare(self, domain: str) -> None:
        """Start the sandbox if it does not run, or has run programs of another domain: memory is inherited."""
        seed = 0 if domain == REFERENCES else self.hash_seed
        mixed = self._domain not in ("", domain) or self._started_with != seed
        if self._process is None or self._process.poll() is not None or mixed:
            self.start(domain == REFERENCES)
        self._domain = domain

    def _send_and_follow(
        self,
        job: Job | ProcessJob,
        message: dict[str, Any],
        readers: Sequence[Reader],
        cpu: float,
        first: float,
        patience: float,
    ) -> End:
        """Run a program with one pipe per reader; `first` and `patience` are seconds until the next right output."""
        pipes = [frame_pipe() for _ in readers]
        streams = {data_in: reader for (data_in, _), reader in zip(pipes, readers, strict=True)}
        try:
            with contextlib.ExitStack() as ours:
                written = [ours.enter_context(os.fdopen(data_out, "wb")).fileno() for _, data_out in pipes]
                program = ours.enter_context(in_memory(job.program()))
                self._tell(message, (program, *written))
            ended = self._follow(streams, protocol.wall_limit(cpu), first, patience)
        finally:
            for data_in in streams:
                os.close(data_in)
        if not ended.pop("clean"):
            self.close()  # the program left something behind: the next one gets a new sandbox
        del ended["index"]
        return End(**ended)

    def _follow(self, streams: Mapping[int, Reader], wall: float, first: float, patience: float) -> dict[str, Any]:
        """Feed output to the readers until the server says how the program ended, then what is left in the pipes."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        watched = select.poll()
        for data in (*streams, process.stdout.fileno()):
            watched.register(data, select.POLLIN)
        now = time.monotonic()
        deadline, due = now + wall + GRACE_SECONDS, now + first
        stopped = stalled = False
        while True:
            until = deadline if stopped else min(deadline, due)
            events = dict(watched.poll(max(0.0, 1000 * (until - time.monotonic()))))
            for data, reader in streams.items():
                if data not in events:
                    continue
                accepted = reader.accepted
                if not drain(data, reader):
                    watched.unregister(data)  # the program has closed it
                if reader.accepted > accepted:
                    due = time.monotonic() + patience
            if process.stdout.fileno() in events:
                message = self._hear(START_SECONDS)
                for data, reader in streams.items():
                    drain(data, reader, PIPE_BYTES)
                if stalled and message["reason"] == protocol.STOPPED:
                    message["reason"] = protocol.WALL_LIMIT
                return message
            stalled = stalled or (not events and time.monotonic() > due)
            if (stalled or any(reader.settled for reader in streams.values())) and not stopped:
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


def _finish(process: subprocess.Popen[bytes], errors: IO[bytes], control: socket.socket, scratch: str | None) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    for stream in (process.stdout, errors, control):
        stream.close()
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
