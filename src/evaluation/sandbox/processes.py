"""A program as processes: files, a command, text for its standard input, limits, and what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.jobs import End
from src.utils.validation import checked_dataclass

ERROR_BYTES = 1 << 16  # of standard error that are kept; the rest is read and dropped


@checked_dataclass("limits")
class ProcessLimits:
    """Limits on each process of a command.

    Attributes:
        memory_mb: Memory that it can write to (`RLIMIT_DATA`), in MiB.
        address_space_mb: Address space (`RLIMIT_AS`), in MiB; null: `memory_mb`. Virtual machines reserve more than
            they use.
        stack_mb: Stack of the first thread, and of threads that ask for no other size, in MiB.
        file_mb: Largest file that it can write, in MiB.
        threads: Threads of all processes together.
        processes: It may start further processes; False: threads only.
    """

    memory_mb: Annotated[int, Field(ge=1)] = 4096
    address_space_mb: Annotated[int, Field(ge=1)] | None = None
    stack_mb: Annotated[int, Field(ge=1)] = 64
    file_mb: Annotated[int, Field(ge=1)] = 16
    threads: Annotated[int, Field(ge=1)] = 256
    processes: bool = False


@dataclass(frozen=True)
class ProcessJob:
    """A command that runs in an empty directory with the given files.

    Attributes:
        command: Absolute path of the program, and arguments.
        files: Content by name, relative to the directory.
        stdin: Standard input; also readable as `/dev/stdin`.
        cpu: CPU seconds of the first process; wall-clock time follows from it (`protocol.wall_limit`).
        output_bytes: Longest standard output; a longer one ends the program.
        limits: Limits on each process.
        environment: Environment variables besides the sandbox's own.
        keep: Keep the regular files that it leaves, for jobs with `continues`.
        continues: Start with the files of the last job with `keep`.
    """

    command: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    cpu: float = 10.0
    output_bytes: int = 1 << 20
    limits: ProcessLimits = field(default_factory=ProcessLimits)
    environment: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False
    continues: bool = False

    def message(self) -> dict[str, Any]:
        """Return the message to the server, which holds nothing of the program but what the first job left."""
        return {"cpu_limits": [self.cpu], "cpu": self.cpu, "process": {"keep": self.keep, "continues": self.continues}}

    def program(self) -> dict[str, Any]:
        """Return the message to the program's own process."""
        limits = self.limits
        return {
            "command": list(self.command),
            "files": {name: bytes(content) for name, content in self.files.items()},
            "stdin": self.stdin,
            "environment": dict(self.environment),
            "cpu": self.cpu,
            "memory": limits.memory_mb << 20,
            "address_space": (limits.address_space_mb or limits.memory_mb) << 20,
            "stack": limits.stack_mb << 20,
            "file": limits.file_mb << 20,
            "threads": limits.threads,
            "processes": limits.processes,
        }


@dataclass(frozen=True)
class ProcessResult:
    """End of a command and what it wrote.

    Attributes:
        end: See `End`.
        stdout: Standard output.
        stderr: Beginning of standard error.
        overlong: Standard output was longer than allowed; `stdout` is its beginning.
    """

    end: End
    stdout: bytes
    stderr: bytes
    overlong: bool

    @property
    def exit_code(self) -> int:
        """Exit code, or minus the number of the signal that ended it."""
        status = self.end.status
        return -(status & 0x7F) if status & 0x7F else status >> 8

    @property
    def not_started(self) -> bool:
        """The sandbox could not start the command; `stderr` says why."""
        return self.exit_code == protocol.NOT_STARTED and self.stderr.startswith(protocol.NOT_STARTED_MARK)


class OutputReader:
    """Keep the beginning of a stream.

    Args:
        longest: Bytes to keep.
        fatal: More than that settles the result.
    """

    def __init__(self, longest: int, fatal: bool) -> None:
        self.longest = longest
        self.fatal = fatal
        self.data = bytearray()
        self.overlong = False
        self.accepted = 0

    @property
    def settled(self) -> bool:
        """The program can be ended."""
        return self.overlong and self.fatal

    def feed(self, part: bytes) -> None:
        space = self.longest - len(self.data)
        self.data += part[:space]
        self.overlong = self.overlong or len(part) > space
