"""The life of a sandbox: starting, stopping, being left alone, and programs that do not end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.launch import Launch, find_launches
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker, WorkerDied
from tests.evaluation.sandbox.conftest import make_job, run_job

REPOSITORY = Path(__file__).resolve().parents[3]


def gone(processes: list[psutil.Process], seconds: float = 5.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive if process.is_running())


def test_every_way_of_isolation_runs_programs(each_worker: Worker) -> None:
    frames, end = run_job(each_worker, make_job("def f(x): return x * 2", [[1], ["a"], [[0.5]]]))
    assert [(frame.kind, frame.index) for frame in frames] == [(protocol.PLAIN, n) for n in range(3)]
    assert (end.reason, end.status) == (protocol.EXITED, 0)
    assert 0 < end.cpu < 5
    assert end.memory > 1 << 20
    source = "import os\ndef f(): return os.getuid(), os.listdir('/scratch'), os.path.exists('/proc/1')"
    [frame], _ = run_job(each_worker, make_job(source))
    assert frame.kind == protocol.PLAIN


def test_every_way_ends_a_program_that_does_not(each_worker: Worker) -> None:
    started = time.monotonic()
    frames, end = run_job(each_worker, make_job("def f():\n  while True: pass", cpu_limits=(0.3,)))
    assert (frames, end.reason) == ([], protocol.CPU_LIMIT)
    assert 0.25 < end.cpu < 1
    _, end = run_job(each_worker, make_job("import os\ndef f():\n  while True: os.write(99, b'x')"))
    assert end.reason == protocol.EXITED  # no such descriptor: an exception
    assert time.monotonic() - started < 20


def test_programs_are_the_first_to_go_when_memory_runs_out(each_worker: Worker) -> None:
    [server] = psutil.Process(each_worker.pid).children(recursive=True)
    assert Path(f"/proc/{server.pid}/oom_score_adj").read_text().strip() == "800"


def test_unsafe_runs_programs_too() -> None:
    [launch] = find_launches("unsafe")
    worker = Worker(launch)
    try:
        worker.start()
        frames, _ = run_job(worker, make_job("import os\ndef f(): return os.getcwd()"))
        assert b"program-" in frames[0].body
        _, end = run_job(worker, make_job("def f():\n  while True: pass", cpu_limits=(0.2,)))
        assert end.reason == protocol.CPU_LIMIT
        frames, _ = run_job(worker, make_job("import os\ndef f(): return os.fork()"))
        assert frames[0].kind == protocol.RAISED
    finally:
        worker.close()


def test_a_judge_that_has_seen_enough_stops_the_program(each_worker: Worker) -> None:
    seen = []

    def judge(frame: Any) -> bool:
        seen.append(frame.index)
        return frame.index < 2

    source = "import time\ndef f(x):\n  if x > 2: time.sleep(0.02)\n  return x"
    started = time.monotonic()
    end = each_worker.run(make_job(source, [[n] for n in range(1000)], cpu_limits=(5.0,)), judge)
    assert seen == [0, 1, 2]
    assert end.reason == protocol.STOPPED
    assert time.monotonic() - started < 5


def test_a_stop_that_comes_too_late_confuses_nobody(sandbox: Sandbox) -> None:
    """The program may end by itself while the order to stop it is on its way."""

    def many(worker: Worker, _: int) -> list[int]:
        counts = []
        for _ in range(50):
            seen: list[int] = []
            worker.run(make_job("def f(x): return x", [[1], [2]]), lambda frame, seen=seen: bool(seen.append(1)))
            counts.append(len(run_job(worker, make_job("def f(x): return x", [[1], [2]]))[0]))
        return counts

    [counts] = sandbox.map(many, [0])
    assert counts == [2] * 50


def test_per_input_limits_count_from_the_input(sandbox: Sandbox) -> None:
    """Ten inputs of 0.1 s each pass under a limit of 0.4 s per input."""
    source = "import time\ndef f():\n  end = time.process_time() + 0.1\n  while time.process_time() < end: pass"
    job = make_job(source, [[]] * 10, cpu_limits=(1.0, *[0.4] * 10), cpu_total=9.0)
    [(frames, end)] = sandbox.map(lambda worker, job: run_job(worker, job), [job])
    assert (len(frames), end.reason) == (10, protocol.EXITED)


def test_total_limit(sandbox: Sandbox) -> None:
    source = "import time\ndef f():\n  end = time.process_time() + 0.1\n  while time.process_time() < end: pass"
    job = make_job(source, [[]] * 10, cpu_limits=(1.0, *[0.4] * 10), cpu_total=0.5)
    [(frames, end)] = sandbox.map(lambda worker, job: run_job(worker, job), [job])
    assert end.reason == protocol.CPU_LIMIT
    assert len(frames) <= 5


def test_modules_are_imported_once(sandbox: Sandbox) -> None:
    source = "import sys\nthere = 'numpy' in sys.modules\ndef f(): return there"
    run = lambda worker, job: run_job(worker, job)[0][0].body  # noqa: E731
    assert sandbox.map(run, [make_job(source)], {"numpy", "no_such_module"}) == [b"T"]


def test_close_ends_everything() -> None:
    launch = find_launches("auto")[0]
    worker = Worker(launch)
    worker.start()
    assert worker.pid is not None
    root = psutil.Process(worker.pid)
    processes = [root, *root.children(recursive=True)]
    worker.close()
    worker.close()
    assert gone(processes)
    assert worker.pid is None
    assert len(run_job(worker, make_job("def f(): return 1"))[0]) == 1  # starts again by itself
    worker.close()


def test_forgotten_worker_ends_with_its_last_reference() -> None:
    worker = Worker(find_launches("auto")[0])
    worker.start()
    assert worker.pid is not None
    processes = [psutil.Process(worker.pid)]
    del worker
    assert gone(processes)


@pytest.mark.parametrize("isolation", ["auto", "unsafe"])
def test_nothing_outlives_a_killed_run(isolation: str) -> None:
    """`kill -9` of the run while a program spins: within seconds neither server nor program is left."""
    script = textwrap.dedent(
        f"""
        from src.evaluation.sandbox.pool import Sandbox
        from tests.evaluation.sandbox.conftest import make_job, run_job
        job = make_job("def f():\\n  while True: pass", cpu_limits=(60.0,), cpu_total=60.0)
        Sandbox(isolation={isolation!r}, workers=1).map(lambda worker, job: run_job(worker, job), [job])
        """
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, env=environment) as run:
        try:
            processes = _spinning(psutil.Process(run.pid))
        finally:
            run.kill()
        assert gone(processes)


def _spinning(run: psutil.Process) -> list[psutil.Process]:
    """All processes below `run` once one of them has used CPU time in earnest."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = run.children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(child.cpu_times().user > 0.4 for child in children) and len(children) >= 2:
                return children
        time.sleep(0.05)
    raise AssertionError("no program is running")


def test_interrupt_ends_the_programs() -> None:
    """Ctrl-C while a program spins."""
    script = textwrap.dedent(
        """
        import signal, sys
        from src.evaluation.sandbox.pool import Sandbox
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
        from tests.evaluation.sandbox.conftest import make_job, run_job
        job = make_job("def f():\\n  while True: pass", cpu_limits=(60.0,), cpu_total=60.0)
        try:
            Sandbox(workers=1).map(lambda worker, job: run_job(worker, job), [job])
        except KeyboardInterrupt:
            sys.exit(7)
        """
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, env=environment) as run:
        processes = _spinning(psutil.Process(run.pid))
        run.send_signal(signal.SIGINT)
        assert run.wait(10) == 7
    assert gone(processes)


def test_a_sandbox_that_does_not_start_says_why() -> None:
    worker = Worker(Launch("broken", (sys.executable, "-c", "import sys; sys.exit('no namespaces')"), False, True))
    with pytest.raises(WorkerDied, match="no namespaces"):
        worker.start()
    with pytest.raises(WorkerDied, match="without a message"):
        Worker(Launch("broken", ("/bin/true",), False, True)).start()


def test_a_killed_sandbox_is_noticed_and_replaced(sandbox: Sandbox) -> None:
    def kill_it(worker: Worker, _: int) -> int:
        if worker.pid is None:
            worker.start()
        root = psutil.Process(worker.pid)

        def kill_all() -> None:
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended with the first
                    process.kill()

        timer = threading.Timer(0.3, kill_all)
        timer.start()
        with pytest.raises(WorkerDied):
            run_job(worker, make_job("def f():\n  while True: pass", cpu_limits=(30.0,), cpu_total=30.0))
        timer.join()
        return len(run_job(worker, make_job("def f(): return 1"))[0])

    assert sandbox.map(kill_it, [0]) == [1]


# --- the pool ---------------------------------------------------------------------------------------------------------
def test_map_keeps_the_order_and_counts() -> None:
    done: list[int] = []
    with Sandbox(workers=3) as pool:
        jobs = [make_job(f"import time\ndef f(): time.sleep({0.2 if n == 0 else 0}); return {n}") for n in range(8)]
        bodies = pool.map(lambda worker, job: run_job(worker, job)[0][0].body, jobs, on_done=lambda: done.append(1))
        assert bodies == [b"i" + n.to_bytes(4, "little") for n in range(8)]
        assert len(done) == 8
        assert pool.map(lambda worker, job: 1, []) == []


def test_workers_that_start_early_are_those_that_run() -> None:
    with Sandbox(workers=2) as pool:
        pool.start_early(5)
        pool.start_early(5)
        pids = pool.map(lambda worker, job: (run_job(worker, job), worker.pid)[1], [make_job("def f(): pass")] * 6)
        assert {worker.pid for worker in pool._workers} >= set(pids)
        assert len(pool._workers) == 2
        assert all(worker.pid is not None for worker in pool._workers)
        pool.close()
        pool.start_early(1)
        pool.close()  # before anybody has waited for it
        assert pool._workers == []


def test_an_error_in_one_thread_ends_the_others() -> None:
    def fail(worker: Worker, item: int) -> int:
        if item == 0:
            raise RuntimeError("ours")
        run_job(worker, make_job("def f():\n  while True: pass", cpu_limits=(30.0,), cpu_total=30.0))
        return item

    started = time.monotonic()
    with Sandbox(workers=2) as pool, pytest.raises(RuntimeError, match="ours"):
        pool.map(fail, [0, 1])
    assert time.monotonic() - started < 10
