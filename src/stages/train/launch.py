"""Several processes for one training job: started here on one node, or by torchrun or Slurm.

We do not start them with `python -m torch.distributed.run`. Measured with torch 2.13: when one rank fails, it kills the
others at once, so an error that another rank is about to print is lost. It prints 49 lines of its own where we print
one, exits with code 1 instead of 2 (bad input) or 130/143 (signals), answers SIGTERM with a traceback, and takes six
seconds to start.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.config.command_line import BAD_INPUT, SIGNALED, explain
from src.lit_modules.world import World
from src.runs.record import Inputs, Run, open_run
from src.stages.job import Job
from src.utils.errors import AlreadyTold, Interrupted, UserError
from src.utils.ranks import alone, from_main, is_main_process, wait_for_all
from src.utils.signals import REQUESTS, Handlers
from src.utils.threads import usable_cores

GRACE = 5.0  # seconds for the other ranks to end on their own
LAUNCHED = "MIXMERGE_LAUNCHED"  # environment variable set in processes that we start
TOLD = [SIGNALED + number for number in REQUESTS]  # exit codes of processes that have reported a signal
Processes = Sequence[subprocess.Popen[bytes]]
ROOT = Path(__file__).resolve().parents[3]


def launch_ranks(job: Job, world: World) -> None:
    """Run a job in `world.devices` processes of this node and wait for it.

    Raises:
        UserError: A process failed; it has printed the reason.
    """
    run_ranks([sys.executable, str(ROOT / f"{job.script}.py"), *job.overrides], world.size)


def is_launched() -> bool:
    """Return true if `run_ranks` started this process; its own process then reports the outcome."""
    return LAUNCHED in os.environ


def run_ranks(command: Sequence[str], size: int) -> None:
    """Start a command `size` times with torchrun's environment variables; if one process fails, stop the others.

    The others get `GRACE` seconds to end on their own, since the process that prints the reason may not be the first to
    end. Requests to stop are forwarded, and this process waits for all of them.

    Raises:
        UserError: A process failed.
        Interrupted: SIGINT, SIGTERM or SIGHUP was received.
    """
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(size),
        LAUNCHED: "1",
        "LOCAL_WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // size))),
    }
    requests, processes, codes = list[int](), list[subprocess.Popen[bytes]](), list[int | None]()
    handlers = Handlers(requests.append)
    handlers.set()
    try:
        for rank in range(size):
            environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(subprocess.Popen(command, env=environment))
        codes = _wait(processes, requests)
    finally:
        _stop(processes)
        handlers.restore()
    if requests:
        raise Interrupted(requests[0], told=any(code in TOLD for code in codes))
    failed = [f"process {rank} (exit code {code})" for rank, code in enumerate(codes) if code]
    if failed:
        kind = AlreadyTold if {code for code in codes if code} == {BAD_INPUT} else UserError
        raise kind(f"{', '.join(failed)} of {size} failed and the others were stopped; the reason is above")


def _wait(processes: Processes, requests: Sequence[int]) -> list[int | None]:
    """Wait until all have ended, or one has failed and the grace period is over; return the exit codes."""
    codes: list[int | None] = [None]
    deadline, handed_on = float("inf"), 0
    while None in codes and time.monotonic() < deadline:
        time.sleep(0.1)
        if len(requests) > handed_on:
            handed_on = len(requests)
            _terminate(processes)
        codes = [process.poll() for process in processes]
        if any(code and code not in TOLD for code in codes):
            deadline = min(deadline, time.monotonic() + GRACE)
        elif (
            any(code is not None for code in codes) and requests
        ):  # all save together, and one may take longer to clean up
            deadline = min(deadline, time.monotonic() + 10 * GRACE)
    return codes


def _terminate(processes: Processes) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()


def _stop(processes: Processes) -> None:
    """End the processes that are still running; one inside a collective ignores SIGTERM and is killed."""
    _terminate(processes)
    deadline = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def open_shared_run(
    directory: Path, *, stage: str, config: Mapping[str, Any], inputs: Callable[[], Inputs], argv: list[str]
) -> Iterator[Run]:
    """Open a run for a job with one or more processes: the first one owns it, the others write nothing.

    All leave the context together, once the run directory has its final name.

    Args:
        directory: As of `open_run`, like the others.
        stage: Name of the stage.
        config: What decides the result.
        inputs: Called only by the first process: hashing a base takes a while, and may find that it has changed.
        argv: The command.

    Raises:
        UserError: In all processes, if the first cannot open it.
    """
    if not is_main_process():
        yield _made_by_first()
        wait_for_all()
        return
    with contextlib.ExitStack() as stack:
        with _told_to_all():
            run = stack.enter_context(open_run(directory, stage=stage, config=config, inputs=inputs(), argv=argv))
        from_main(Run(run.directory, run.work, {}, run.finished, run.results))
        yield run
    wait_for_all()


def once(work: Callable[[], Path]) -> Path:
    """Run a function only in the first process, while the others wait for its result.

    Raises:
        UserError: In all processes, if it fails in the first.
    """
    if not is_main_process():
        made: Path = _made_by_first()
        return made
    with _told_to_all(), alone():
        made = work()
    return from_main(made)


def _made_by_first() -> Any:
    """Receive the result of the first process, or raise its error."""
    made = from_main("")
    if isinstance(made, str):
        raise UserError(made)
    return made


@contextlib.contextmanager
def _told_to_all() -> Iterator[None]:
    """Send the error of the first process to the others, which wait for its result."""
    try:
        yield
    except BaseException as error:
        from_main(explain(error) or repr(error))
        raise


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
