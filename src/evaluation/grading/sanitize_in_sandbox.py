"""Sanitize untrusted texts in the sandbox, where a text that crashes the parser does no harm.

EvalPlus's definition is quadratic in the number of lines, so a long answer of prose alone needs a time limit.
"""

from __future__ import annotations

import contextlib
import marshal
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import Undecodable, decode
from src.evaluation.sandbox.jobs import Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker, WorkerDied

SanitizeFunction = Literal["sanitize", "runnable_part"]  # functions of sanitize.py
SECONDS = 10.0  # CPU time per text
LONGEST = 1 << 20  # bytes per result
CHUNK = 16  # texts per process
PARSERS = {"tree_sitter", "tree_sitter_python"}


def sanitize_in_sandbox(
    texts: Sequence[tuple[str, str]], sandbox: Sandbox, function: SanitizeFunction = "sanitize"
) -> list[str]:
    """Sanitize every (text, entry point); a text on which that fails or takes too long stays unchanged.

    Args:
        texts: Pairs of text and entry point.
        sandbox: Where the sanitizer runs.
        function: Function of `sanitize.py`.
    """
    program = Path(__file__).with_name("sanitize.py").read_text(encoding="utf-8")
    chunks = [list(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]

    def clean(worker: Worker, chunk: list[tuple[str, str]]) -> list[str]:
        done: list[str] = []
        while len(done) < len(chunk):
            done += _sanitized_until_failure(worker, program, function, chunk[len(done) :])
            done += [text for text, _ in chunk[len(done) : len(done) + 1]]
        return done

    return [text for chunk in sandbox.map(clean, chunks, PARSERS) for text in chunk]


def _sanitized_until_failure(worker: Worker, program: str, function: str, texts: list[tuple[str, str]]) -> list[str]:
    done: list[str] = []

    def take(frame: Frame) -> bool:
        value = None
        if frame.kind == protocol.PLAIN and frame.index == len(done):
            with contextlib.suppress(Undecodable):
                value = decode(frame.kind, frame.body)
        if isinstance(value, str):
            done.append(value)
        return isinstance(value, str)

    job = Job(
        candidates=(program,),
        entry_point=function,
        inputs=marshal.dumps([list(pair) for pair in texts], protocol.MARSHAL_VERSION),
        cpu_limits=(SECONDS,),
        cpu_total=SECONDS * len(texts),
        memory=2 << 30,
        inline=LONGEST,
    )
    with contextlib.suppress(WorkerDied):
        worker.run(job, take)
    return done
