"""Commands in the sandbox: input, output, limits, files kept between steps, and what they cannot do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.launch import Extra, find_launches
from src.evaluation.sandbox.processes import ProcessJob, ProcessLimits, ProcessResult
from src.evaluation.sandbox.worker import Worker, WorkerDied
from src.utils.errors import UserError
from tests.evaluation.sandbox.conftest import EACH_WAY, make_job, run_job

PYTHON = os.path.realpath(sys.executable)
LIMITS = ProcessLimits(memory_mb=512, stack_mb=8, file_mb=1)


@pytest.fixture(scope="module", params=[*EACH_WAY, pytest.param("unsafe", marks=pytest.mark.slow)])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    extra = Extra(commands=True)
    launches = find_launches("auto" if request.param != "unsafe" else "unsafe")
    number = 0 if request.param == "unsafe" else request.param
    if number >= len(launches):
        pytest.skip("no further way to isolate programs on this machine: install bubblewrap or util-linux")
    base = Worker(launches[number])
    found = base.for_commands(extra)
    try:
        found.start()
    except (WorkerDied, UserError) as error:
        pytest.skip(f"{launches[number].name}: {error}")
    yield found
    base.close()
    assert found.pid is None


def run(worker: Worker, source: str, **changes: Any) -> ProcessResult:
    """Run a Python program as a process."""
    files = {"main.py": source.encode(), **changes.pop("files", {})}
    settings: dict[str, Any] = {"command": (PYTHON, "main.py"), "files": files, "cpu": 2.0, "limits": LIMITS}
    return worker.run_process(ProcessJob(**settings | changes))


def test_input_output_and_exit_code(worker: Worker) -> None:
    source = "import sys\nn = int(input())\nprint(n + len(sys.stdin.read()))\nprint('why', file=sys.stderr)\nexit(n)"
    result = run(worker, source, stdin=b"3\nabcd\n")
    assert (result.stdout, result.stderr, result.exit_code) == (b"8\n", b"why\n", 3)
    assert result.end.reason == protocol.EXITED
    assert not result.overlong
    assert not result.not_started


def test_input_as_a_file_and_files_of_the_job(worker: Worker) -> None:
    source = "print(open('/dev/stdin').read() + open('data/table.txt').read())"
    result = run(worker, source, stdin=b"one ", files={"data/table.txt": b"two"})
    assert result.stdout == b"one two\n"


def test_every_program_starts_in_an_empty_directory_without_the_users_environment(worker: Worker) -> None:
    run(worker, "import os\nos.makedirs('left/over'); open('left/over/x', 'w').write('x')")
    result = run(worker, "import os\nprint(sorted(os.listdir('.')), 'PYTEST_CURRENT_TEST' in os.environ)")
    assert result.stdout == b"['.stdin', 'main.py'] False\n"


def test_kept_files_are_there_again_at_every_further_step_as_the_first_left_them(worker: Worker) -> None:
    compiler = "import os\nos.mkdir('out'); open('out/a', 'w').write('built'); os.symlink('/etc', 'out/link')"
    assert run(worker, compiler, keep=True).exit_code == 0
    step = "import os\nprint(open('out/a').read(), os.listdir('out'))\nopen('out/a', 'w').write('changed')"
    for _ in range(2):
        later = run(worker, "", files={"step.py": step.encode()}, command=(PYTHON, "step.py"), continues=True)
        assert later.stdout == b"built ['a']\n"
    assert b"out" not in run(worker, "import os\nprint(os.listdir('.'))").stdout


def test_a_step_without_its_kept_files_is_refused(worker: Worker) -> None:
    run(worker, "exit(1)", keep=True)
    with pytest.raises(WorkerDied, match="files of the program"):
        run(worker, "", continues=True)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("while True: pass", protocol.CPU_LIMIT),
        pytest.param("import time; time.sleep(100)", protocol.WALL_LIMIT, marks=pytest.mark.slow),
        ("while True: print('x' * 1000)", protocol.STOPPED),
        pytest.param(
            "import sys\nwhile True: sys.stderr.write('x' * 1000)", protocol.CPU_LIMIT, marks=pytest.mark.slow
        ),
    ],
)
def test_endless_programs_end(source: str, reason: str, worker: Worker) -> None:
    result = run(worker, source, cpu=0.2, output_bytes=5000)
    assert (result.end.reason, result.exit_code) == (reason, -9)
    assert result.overlong == (reason == protocol.STOPPED)
    assert len(result.stdout) <= 5000
    assert len(result.stderr) <= 1 << 16
    assert run(worker, "print(1)").stdout == b"1\n"


ATTACKS = {
    "fork": "import os\nos.fork()",
    "fork without Python": "import ctypes\nif ctypes.CDLL(None).fork() < 0: raise OSError",
    "subprocess": "import subprocess\nsubprocess.run(['/bin/true'])",
    "kill its parent": "import os\nos.kill(os.getppid(), 9)",
    "kill everything": "import os\nos.kill(-1, 9)",
    "memory": "x = bytearray(1 << 30)",
    "shared memory": "import mmap\nmmap.mmap(-1, 1 << 30)",
    "large file": "f = open('x', 'wb')\nf.write(bytes(1 << 22)); f.flush()",
    "socket": "import socket\nsocket.socket()",
    "more descriptors": "import os\n[os.dup(0) for _ in range(1000)]",
    "write to descriptors of others": "import os\nfor d in range(3, 200):\n  try: os.write(d, b'x'); print('wrote')\n"
    "  except OSError: pass\nraise OSError",
    "raise its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails_and_the_next_program_runs(name: str, worker: Worker) -> None:
    result = run(worker, ATTACKS[name])
    assert result.exit_code not in (0, protocol.NOT_STARTED)
    assert result.stdout == b""
    assert run(worker, "print(1)").stdout == b"1\n"


def test_files_of_the_user_are_not_there(worker: Worker) -> None:
    if worker.launch.name == "unsafe":
        pytest.skip("without isolation, they are")
    places = [
        "/proc",
        "/sys",
        "/home",
        "/tmp",
        os.path.abspath(__file__),
        "/etc/passwd",
        os.path.expanduser("~/.bashrc"),
    ]
    source = f"import os\nprint([p for p in {places!r} if os.path.exists(p)])"
    assert run(worker, source).stdout == b"[]\n"


def test_another_command_in_its_place_keeps_the_limits(worker: Worker) -> None:
    source = f"import os\nos.execv({PYTHON!r}, ['p', '-S', '-c', {ATTACKS['fork']!r}])"
    assert b"BlockingIOError" in run(worker, source).stderr


def test_processes_where_they_are_allowed(worker: Worker) -> None:
    limits = ProcessLimits(memory_mb=512, processes=True)
    source = "import os, subprocess\nprint(subprocess.run(['/bin/echo', 'hi'], capture_output=True).stdout)"
    assert run(worker, source, limits=limits).stdout == b"b'hi\\n'\n"
    namespaces = (
        "import ctypes\nfor f in 0x10000000, 0x20000000: print(ctypes.CDLL(None).syscall(56, f | 17, 0, 0, 0, 0))"
    )
    if os.uname().machine == "x86_64":
        assert run(worker, namespaces, limits=limits).stdout == b"-1\n-1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user, all processes of the user count")
def test_processes_that_outlive_their_command_end_with_it(worker: Worker) -> None:
    if worker.launch.name == "unsafe":
        pytest.skip("without isolation, a process can leave the group of its command")
    source = "import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(100)"
    result = run(worker, source, limits=ProcessLimits(memory_mb=512, processes=True))
    assert result.exit_code == 0
    assert run(worker, "print(1)").stdout == b"1\n"


def test_a_command_that_does_not_exist(worker: Worker) -> None:
    result = run(worker, "", command=("/usr/bin/no-such-command",))
    assert result.not_started
    assert b"no-such-command" in result.stderr


def test_commands_and_python_programs_never_share_a_server(worker: Worker) -> None:
    run(worker, "print(1)")
    first = worker.pid
    frames, _ = run_job(worker, make_job("def f(): return 1"))
    assert len(frames) == 1
    assert worker.pid != first
    run(worker, "print(1)")
    assert worker.pid != first
