from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from src.evaluation.sandbox import launch, pool
from src.evaluation.sandbox.launch import environment, find_launches, visible_paths
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker, WorkerDied
from src.utils.errors import UserError

WAYS_OUT = (
    "Install bubblewrap .apt install bubblewrap., or allow user namespaces, or accept the risk with sandbox=unsafe"
)


def installed(monkeypatch: pytest.MonkeyPatch, *names: str, user: int = 1000) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in names else None)
    monkeypatch.setattr(os, "geteuid", lambda: user)


def test_bubblewrap_first_then_unshare(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "bwrap", "unshare")
    assert [found.name for found in find_launches("auto")] == ["bubblewrap", "unshare"]
    assert [found.name for found in find_launches("unshare")] == ["unshare"]
    installed(monkeypatch, "unshare")
    [only] = find_launches("auto")
    assert (only.name, only.jail, only.alone, only.drop) == ("unshare", True, True, False)
    assert "--map-root-user" in only.command


def test_root_becomes_nobody_first(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "bwrap", "unshare", user=0)
    first, second, third = find_launches("auto")
    assert (first.name, first.drop, "--user" in first.command) == ("unshare", True, False)
    assert (second.name, third.name, third.drop) == ("bubblewrap", "unshare", False)
    user = first.settings("/scratch", 5)["user"]
    assert isinstance(user, int)
    assert 1 << 30 <= user < 1 << 31
    assert third.settings("/scratch", 5)["user"] == 0


def test_nothing_installed_names_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(UserError, match=f"no bwrap or unshare on the PATH.*{WAYS_OUT}"):
        Sandbox()
    with pytest.raises(UserError, match="no bubblewrap on the PATH"):
        Sandbox(isolation="bubblewrap")
    assert [found.name for found in find_launches("unsafe")] == ["unsafe"]


def test_namespaces_forbidden_names_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(worker: Worker) -> None:
        raise WorkerDied("unshare: unshare failed: Operation not permitted")

    installed(monkeypatch, "unshare")
    monkeypatch.setattr(Worker, "start", refuse)
    for early in (0, 3):
        sandbox = Sandbox()
        sandbox.start_early(early)
        with pytest.raises(UserError, match=f"unshare: unshare failed: Operation not permitted.*{WAYS_OUT}"):
            sandbox.map(lambda worker, item: item, [1])


def test_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.confine, "filter_is_supported", lambda: False)
    installed(monkeypatch, "unshare")
    with pytest.raises(UserError, match="no system-call filter for"):
        Sandbox().map(lambda worker, item: item, [1])
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="run only on Linux, not on darwin"):
        Sandbox()


def test_unknown_isolation() -> None:
    with pytest.raises(UserError, match="Available: auto, bubblewrap, unsafe, unshare"):
        find_launches("docker")


def test_nothing_of_the_user_is_shown() -> None:
    repository = Path(launch.__file__).resolve().parents[3]
    shown = [Path(path) for path in visible_paths()]
    for private in (Path.home(), repository, Path("/etc"), Path("/proc"), Path("/sys"), Path("/tmp"), Path("/var")):
        assert not any(private == path or path in private.parents for path in shown), private
    assert not set(environment()) & {"USER", "SSH_AUTH_SOCK", "WANDB_API_KEY", "HF_TOKEN"}
