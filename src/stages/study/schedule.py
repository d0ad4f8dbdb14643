"""Run the steps of a study as their inputs become ready, the longest chain of remaining work first."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from src.stages.study.executor import Executor, Pending
from src.stages.study.progress import StudyProgress
from src.stages.study.work import Outcome, Step, outcome_of
from src.utils.errors import Interrupted, UserError, first_differences
from src.utils.progress import say
from src.utils.signals import Handlers

LOOK = 0.02  # seconds between looks at running jobs: futures of submitit can only be asked


@dataclass
class Results:
    """What the steps of a run led to.

    Attributes:
        places: Key of a step -> its run directories.
        failed: Step -> its problem.
        left: Steps that were not run because they need a failed one.
    """

    places: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    failed: dict[Step, Outcome] = field(default_factory=dict)
    left: list[Step] = field(default_factory=list)

    def require(self) -> None:
        """Refuse to go on after a failure.

        Raises:
            UserError: Steps failed; all are named.
            RuntimeError: A bug of ours, with its traceback.
        """
        for step, outcome in self.failed.items():
            if outcome.is_bug:
                raise RuntimeError(f"{step.label}:\n{outcome.problem}")
        if self.failed:
            say("\n".join(["failed:", *(line for pair in self.failed.items() for line in _failure_lines(*pair))]))
            named = [f"{step.label}: {outcome.problem}" for step, outcome in self.failed.items()]
            rest = f", and {len(self.left)} that need them were not run" if self.left else ""
            count = len(self.failed)
            raise UserError(first_differences(f"{count} step{'s' * (count > 1)} of the study failed{rest}", named))


def _failure_lines(step: Step, outcome: Outcome) -> list[str]:
    """A failed step, its first error line, and the commands that run just its jobs."""
    first = (outcome.problem or "").strip().partition("\n")[0]
    return [f"  {step.label}: {first}", *(f"    {' '.join(job.command)}" for job in step.jobs)]


def run_steps(steps: Iterable[Step], executor: Executor, progress: StudyProgress) -> Results:
    """Run all steps whose inputs can be made.

    Args:
        steps: In any order; equal ones are run once. What a step needs must be among them.
        executor: Where they run.
        progress: The bar, which counts all of them.

    Raises:
        Interrupted: This process or a step was asked to stop; running steps have been stopped.
    """
    graph = {step.key: step for step in steps}
    missing = [f"{step.label} needs {key}" for step in graph.values() for key in step.needs if key not in graph]
    assert not missing, missing
    urgency = longest_paths(graph)
    waiting = sorted(graph.values(), key=lambda step: -urgency[step.key])  # stable: equal ones in the order given
    results, running = Results(), dict[str, Pending]()
    requests: list[int] = []
    handlers = Handlers(requests.append)
    if executor.workers > 1:  # alone, a job handles its signals itself
        handlers.set()
    try:
        with progress.of(graph.values(), executor.workers):
            while waiting or running:
                _submit_ready(waiting, running, results, executor, progress)
                _collect(graph, running, results, progress)
                if requests:
                    raise Interrupted(requests[0])
                if running:
                    time.sleep(LOOK)
    except BaseException:
        executor.stop()
        raise
    finally:
        handlers.restore()
    return results


def longest_paths(graph: Mapping[str, Step]) -> dict[str, float]:
    """Expected seconds from the start of each step to the end of all that depends on it, with unlimited workers."""
    dependents: dict[str, list[str]] = {key: [] for key in graph}
    for key, step in graph.items():
        for need in step.needs:
            dependents[need].append(key)
    lengths: dict[str, float] = {}

    def length(key: str) -> float:
        if key not in lengths:
            lengths[key] = graph[key].seconds + max(map(length, dependents[key]), default=0.0)
        return lengths[key]

    for key in graph:
        length(key)
    return lengths


def _submit_ready(
    waiting: list[Step], running: dict[str, Pending], results: Results, executor: Executor, progress: StudyProgress
) -> None:
    lost = {step.key for step in (*results.failed, *results.left)}
    for step in list(waiting):
        if lost.intersection(step.needs):
            waiting.remove(step)
            results.left.append(step)
            lost.add(step.key)
    for step in list(waiting):
        if len(running) >= executor.workers:
            return
        if all(need in results.places for need in step.needs):
            waiting.remove(step)
            progress.started(step)
            running[step.key] = executor.submit(outcome_of, step, executor.workers > 1)
            if executor.workers == 1:  # it has ended; what it made ready may be more urgent than the next one
                return


def _collect(graph: Mapping[str, Step], running: dict[str, Pending], results: Results, progress: StudyProgress) -> None:
    for key in [key for key, pending in running.items() if pending.done()]:
        step, outcome = graph[key], _outcome(running.pop(key))
        if outcome.lines.strip():
            say(outcome.lines.rstrip())
        progress.finished(step)
        if outcome.signal is not None:
            raise Interrupted(outcome.signal)
        if outcome.problem is not None:
            say(f"  failed: {step.label}")
            results.failed[step] = outcome
        else:
            results.places[key] = outcome.places


def _outcome(pending: Pending) -> Outcome:
    """How a step ended; a worker that died is a failure of its step alone."""
    try:
        outcome: Outcome = pending.result()
        return outcome
    except BrokenProcessPool:
        return Outcome(problem="its process was killed, perhaps for lack of memory; lower executor.workers")
    except KeyboardInterrupt:
        return Outcome(signal=int(signal.SIGINT))
