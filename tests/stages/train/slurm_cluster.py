"""A real Slurm cluster of this one machine, for the time of a test.

Its two daemons run in the foreground, as root, with everything they write in one directory. Debian: `apt-get install
slurm-wlm`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

NODE = "localhost"
CONFIG = """
ClusterName=test
SlurmctldHost={node}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
LaunchParameters=use_interactive_step
{more}
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Args:
        place: Its directory.
    """

    place: Path

    def run(self, command: Sequence[str], seconds: float = 300) -> tuple[int, str]:
        """Run a command of Slurm, and return its exit code and what it printed."""
        environment = {**os.environ, "SLURM_CONF": str(self.place / "slurm.conf")}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds
        )
        return done.returncode, done.stdout


@contextlib.contextmanager
def cluster(place: Path) -> Iterator[Cluster]:
    """Start a cluster and stop it on exit; skip the test where Slurm is missing or may not start."""
    daemons = {name: shutil.which(name) for name in ("slurmctld", "slurmd", "slurmstepd", "srun")}
    missing = [name for name, found in daemons.items() if found is None]
    if missing:
        pytest.skip(f"needs a cluster, and {', '.join(missing)} of Slurm is not installed: apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("needs a cluster, and its daemons need root")
    for name in ("state", "spool"):
        (place / name).mkdir(parents=True)
    plugins = os.environ.get("SLURM_PLUGINS")  # of an installation outside /usr
    text = CONFIG.format(
        node=NODE, host=socket.gethostname().partition(".")[0], controller=_free_port(), daemon=_free_port(),
        place=place, more=f"PluginDir={plugins}" if plugins else "",
    )  # fmt: skip
    (place / "slurm.conf").write_text(text, encoding="utf-8")
    started = Cluster(place)
    with contextlib.ExitStack() as running:
        for name in ("slurmctld", "slurmd"):
            log = running.enter_context((place / f"{name}.log").open("w"))
            command = [str(daemons[name]), "-D", "-f", str(place / "slurm.conf")]
            command += ["-d", str(daemons["slurmstepd"])] if name == "slurmd" else []
            daemon = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            running.callback(daemon.wait)
            running.callback(daemon.terminate)
        _wait_until_ready(started)
        yield started
        with contextlib.suppress(subprocess.SubprocessError):
            started.run(["scancel", "--user=root"], seconds=10)


def _wait_until_ready(started: Cluster) -> None:
    for _ in range(60):
        code, said = started.run(["sinfo", "--noheader", "--format=%T"], seconds=30)
        if (code, said.strip()) == (0, "idle"):
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text() for path in started.place.glob("*.log"))
    pytest.fail(f"the cluster did not become ready: {said}\n{logs}")


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
