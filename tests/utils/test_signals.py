"""Requests to stop, in every script."""

import os
import signal
import time

import pytest

from src.config.command_line import Script
from src.runs.record import begin_run
from src.utils.errors import Interrupted
from src.utils.signals import REQUESTS, interrupting


@pytest.mark.parametrize("number", REQUESTS)
def test_every_request_ends_a_script_with_a_line_and_the_code_of_shells(monkeypatch, capsys, number):
    monkeypatch.setattr("sys.argv", ["merge.py"])
    before = signal.getsignal(number)
    cleaned = []

    def main():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            cleaned.append(True)

    with pytest.raises(SystemExit) as ended:
        Script().run(main)
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err.count("interrupted; the same command resumes the run") == 1
    assert cleaned
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", REQUESTS)
def test_a_request_that_a_library_swallowed_ends_the_next_job(tmp_path, number):
    with interrupting():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException:  # as in a finalizer
            pass
        with pytest.raises(Interrupted) as ended:
            begin_run(tmp_path / "run", stage="merge", config={})
    assert ended.value.number == number
    assert list(tmp_path.iterdir()) == []
    with interrupting():
        begin_run(tmp_path / "run", stage="merge", config={}).release()


def test_a_signal_that_is_ignored_on_purpose_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # `nohup`
    try:
        with interrupting():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
