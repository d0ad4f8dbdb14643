"""Worker processes: their share of the machine, their death, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from src.stages.job import compose_job
from src.stages.study import executor as executors
from src.stages.study.executor import LocalExecutor, SerialExecutor
from src.utils.errors import UserError
from src.utils.threads import VARIABLES, cpu_threads

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("kind", "begun"), [("local", 1), ("serial", 0)])
def test_imports_of_local_workers_begin_before_the_study_is_planned(monkeypatch, kind, begun):
    started = []
    monkeypatch.setattr(executors, "PRELOAD", [])
    monkeypatch.setattr(executors, "ensure_running", lambda: started.append(kind))
    executors.begin_imports(compose_job("study", [f"executor={kind}"]).cfg.executor._target_)
    assert len(started) == begun


def whoami() -> tuple[int, str | None, set[str], int]:
    variables = {os.environ[name] for name in VARIABLES}
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), variables, cpu_threads()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep() -> None:
    time.sleep(60)


@pytest.fixture
def local(monkeypatch):
    monkeypatch.setattr(executors, "PRELOAD", [])
    monkeypatch.setattr(executors, "_gpus", lambda: ["4", "5", "6"])
    executor = LocalExecutor(workers=2, threads=3)
    yield executor
    executor.close()


def test_workers_live_on_have_their_share_and_are_replaced_when_they_die(local):
    futures = [local.submit(whoami) for _ in range(2)]
    (one, gpus, variables, threads), (other, other_gpus, *_) = (future.result() for future in futures)
    assert len({one, other, os.getpid()}) == 3
    assert (gpus, other_gpus) == ("4,6", "5")
    assert (variables, threads) == ({"3"}, 3)
    assert local.submit(whoami).result()[0] == one
    with pytest.raises(BrokenProcessPool):
        local.submit(die).result()
    assert local.submit(whoami).result()[0] not in (one, os.getpid())
    started = time.monotonic()
    sleeping = local.submit(sleep)
    local.stop()
    assert time.monotonic() - started < 10
    assert sleeping.done()


def test_alone_a_job_runs_in_this_process():
    assert SerialExecutor().submit(os.getpid).result() == os.getpid()


@pytest.mark.parametrize("key", ["workers", "threads"])
def test_fewer_than_one_is_refused(key):
    with pytest.raises(UserError, match=f"executor.{key}: expected at least 1, got 0"):
        LocalExecutor(**{key: 0})


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them():
    code = (
        "import os, time\n"
        "from src.stages.study import executor\n"
        "from tests.stages.study.test_executor import sleep\n"
        "executor.PRELOAD = []\n"
        "local = executor.LocalExecutor(1)\n"
        "print(local.submit(os.getpid).result(), flush=True)\n"
        "local.submit(sleep).result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()
