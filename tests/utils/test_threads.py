import os

import pytest
import torch

from src.config.command_line import Script
from src.evaluation.sandbox.pool import Sandbox
from src.utils import threads
from src.utils.errors import UserError
from src.utils.threads import SMALL, VARIABLES, cpu_threads, set_threads, threads_for, usable_cores


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_chosen", None)
    for name in VARIABLES:
        monkeypatch.setenv(name, "7")  # restored, whatever a test sets
        monkeypatch.delenv(name)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_number_reaches_torch_the_libraries_and_our_own_pools():
    set_threads(3)
    assert torch.get_num_threads() == 3
    assert {os.environ[name] for name in VARIABLES} == {"3"}
    assert cpu_threads() == 3
    assert Sandbox(isolation="unsafe").size == 3


def test_without_a_number_nothing_is_set_and_pools_take_the_usable_cores():
    set_threads(None)
    assert torch.get_num_threads() == 2
    assert not set(VARIABLES) & set(os.environ)
    assert cpu_threads() == usable_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("parameters", "inside"), [(SMALL - 1, 1), (SMALL, 2)])
def test_small_networks_run_on_one_thread(parameters, inside):
    with threads_for(parameters):
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("by", ["key", "variable"])
def test_a_number_that_the_user_has_chosen_stands(by, monkeypatch):
    if by == "key":
        set_threads(2)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threads_for(1):
        assert torch.get_num_threads() == 2


def test_less_than_one_thread_is_refused_before_the_job():
    with pytest.raises(UserError, match="threads: expected at least 1, got 0"), Script().job(0):
        pytest.fail("the job ran")
