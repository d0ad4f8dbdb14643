"""Messages between the trusted side and the sandboxed side; standard library only, imported by both.

Each worker has a socket *control in* (limits and stop requests to the server in the sandbox) and a pipe *control out*
(how a program ended). With the limits of each program come two descriptors that are that program's alone: a file with
its texts and inputs, which only its own process reads, and a pipe for its frames. So the server, whose memory every
program inherits, never holds a text, an input or an output. A frame is only a *claim* about an output: it carries no
verdict, and only the trusted side knows the expected value.
"""

from __future__ import annotations

import struct

# --- data: one frame per input -------------------------------------------------------------------------------------
FRAME = struct.Struct("<cIdQ")  # kind, index of the input, CPU seconds, length of the body
PLAIN = b"P"  # body: marshal (version 2) of a value built of exact built-in types
TAGGED = b"T"  # body: marshal of the tagged tree of `guest.encode`, for all other values
DIGEST = b"D"  # body: original kind, 8-byte length and BLAKE2b-128 of a body longer than the job's `inline` bytes
RAISED = b"E"  # body: UTF-8 description of the exception
UNUSABLE = b"X"  # body: UTF-8 description; loading the program fails, or it defines no such function
UNPARSED = b"S"  # body: UTF-8 description; none of its texts is Python
HINDERED = b"G"  # body: UTF-8 description; an exception outside the program's code: the sandbox may be the cause
OVERLONG = b"O"  # never sent: stands for a frame with a body longer than the job allows
FAILURES = frozenset({RAISED, UNUSABLE, UNPARSED, HINDERED, OVERLONG})

DIGEST_BODY = struct.Struct("<cQ16s")
MARSHAL_VERSION = 2  # no back references: equal values of exact built-in types give equal bytes

# --- control: a length, then marshal of a dict; both ends are ours ---------------------------------------------------
LENGTH = struct.Struct("<Q")
MESSAGE = b"m"  # before every message to the server; with a program, its two descriptors come with this byte
STOP = b"s"  # a single byte while a program runs: its result is already known, so end it


# --- commands: the standard output and error of a process, as they come ---------------------------------------------
STDIN_FILE = ".stdin"  # in a command's directory; `/dev/stdin` leads there
NOT_STARTED = 119  # exit code of a process that could not become its command
NOT_STARTED_MARK = b"sandbox: "  # begins its standard error


def wall_limit(cpu_limit: float) -> float:
    """Return the wall-clock limit in seconds, for programs that sleep or a machine that is busy."""
    return 4 * cpu_limit + 2


# Reasons for the end of a program, as control out reports them.
EXITED = "exited"
STOPPED = "stopped"
CPU_LIMIT = "cpu limit"
WALL_LIMIT = "wall-clock limit"
