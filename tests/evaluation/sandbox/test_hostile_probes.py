"""Probes of a program's view and powers in the sandbox: run inside, checked from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
Probe = Callable[..., Any]

CALL = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *rest):
    result = getattr(libc, name)(*rest)
    return result, errno.errorcode.get(ctypes.get_errno(), '') if result < 0 else ''
"""


# --- files ------------------------------------------------------------------------------------------------------------
def test_reading_the_users_files(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "id_rsa").write_text("secret")
    assert "FileNotFoundError" in probe("return open(a0).read()", str(tmp_path / "id_rsa"))
    assert "FileNotFoundError" in probe("import os; return os.listdir(a0)", str(tmp_path))
    ssh = "import os; return os.path.exists(os.path.expanduser('~/.ssh')) or os.path.exists(a0 + '/.ssh')"
    assert probe(ssh, str(Path.home())) is False


def test_reading_the_repository(probe: Probe) -> None:
    assert (REPOSITORY / "pyproject.toml").exists()
    assert probe("import os; return os.path.exists(a0)", str(REPOSITORY / "pyproject.toml")) is False
    assert probe("import os; return os.path.exists(a0)", str(REPOSITORY / "src" / "pocket")) is False


def test_writing_the_repository(probe: Probe) -> None:
    target = REPOSITORY / "src" / "written_by_a_program"
    probe("import os; os.makedirs(os.path.dirname(a0), exist_ok=True); open(a0, 'w').write('x')", str(target))
    probe("open(a0, 'a').write('x')", str(REPOSITORY / "pyproject.toml"))
    assert not target.exists()


@pytest.mark.parametrize(
    "place", ["/", "/usr", "/usr/lib", "/etc", "/dev", "/usr/bin/env", "/dev/shm", "/tmp", "/var/tmp"]
)
def test_writing_the_system(place: str, probe: Probe) -> None:
    body = """
import os
path = a0 if os.path.isfile(a0) else a0 + '/x'
try: open(path, 'ab').close()
except OSError: pass
else: return 'opened ' + path
try: os.unlink(path)
except OSError: pass
else: return 'removed ' + path
return 'refused'
"""
    assert probe(body, place) == "refused"


def test_scratch_is_empty_private_and_small(probe: Probe) -> None:
    assert probe("import os; return os.getcwd(), os.listdir('.')") == ("/scratch", [])
    assert probe("open('/scratch/note', 'w').write('from an earlier program'); return 1") == 1
    assert probe("import os; return os.listdir('/scratch')") == []
    assert not Path("/scratch/note").exists()
    big = "import os\nfor n in range(100):\n  with open(f'/scratch/{n}', 'wb') as file: file.write(b'x' * (8 << 20))"
    assert "No space left on device" in probe(big)
    assert "File too large" in probe("open('/scratch/one', 'wb').write(b'x' * (32 << 20))")
    assert probe("import os; return os.listdir('/scratch')") == []


def test_rubbish_that_is_hard_to_remove(probe: Probe) -> None:
    deep = """
import os
os.mkdir('locked'); open('locked/file', 'w').close(); os.chmod('locked', 0)
for n in range(2000):
    os.mkdir('d'); os.chdir('d')
return 'made'
"""
    assert probe(deep) == "made"
    assert probe("import os; os.chmod('/scratch', 0); return 'closed'") == "closed"
    assert probe("import os; return os.listdir('/scratch')") == []


def test_symbolic_and_hard_links(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    link = "import os; os.symlink(a0, '/scratch/link'); return open('/scratch/link').read()"
    assert "FileNotFoundError" in probe(link, str(tmp_path / "secret"))
    assert "FileNotFoundError" in probe("import os; os.link(a0, '/scratch/link')", str(tmp_path / "secret"))
    climb = "import os; return sorted(os.listdir('/' + '../' * 30)) == sorted(os.listdir('/'))"
    assert probe(climb) is True


def test_links_left_behind_do_not_lead_the_cleaner_out(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    probe("import os; os.symlink(a0, '/scratch/link'); os.symlink('/usr', '/scratch/usr')", str(tmp_path))
    assert (tmp_path / "precious").read_text() == "keep"
    assert probe("import os; return os.path.exists('/usr/lib')") is True


def test_proc_and_sys(probe: Probe) -> None:
    assert (
        probe("import os; return [os.path.exists(p) for p in ('/proc/1', '/proc/self', '/sys/kernel')]") == [False] * 3
    )
    for path in ("/proc/1/environ", "/proc/1/mem", "/proc/1/root", "/proc/self/maps", "/proc/sys/kernel/core_pattern"):
        assert "FileNotFoundError" in probe("return open(a0, 'rb').read(1)", path)


def test_only_harmless_devices(probe: Probe) -> None:
    assert probe("import os; return sorted(os.listdir('/dev'))") == ["full", "null", "random", "urandom", "zero"]
    assert probe(CALL + "import os; return call('mknod', b'/scratch/disk', 0o60666, (254 << 8))[0]") == -1


# --- environment and identity -----------------------------------------------------------------------------------------
def test_environment_is_empty_of_the_user(probe: Probe) -> None:
    names = probe("import os; return sorted(os.environ)")
    assert set(names) <= {
        "HOME", "LANG", "LC_CTYPE", "PATH", "PWD", "PYTHONHASHSEED", "TMPDIR",
        "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    }  # fmt: skip


def test_hostname_is_not_disclosed(probe: Probe) -> None:
    assert probe("import socket; return socket.gethostname()") == "sandbox"


def test_no_capability_and_none_to_gain(probe: Probe) -> None:
    body = (
        CALL
        + """
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
sets = (ctypes.c_uint32 * 6)()
libc.capget(ctypes.byref(header), ctypes.byref(sets))
no_new_privileges = libc.prctl(39, 0, 0, 0, 0)
bounding = sum(libc.prctl(23, n, 0, 0, 0) == 1 for n in range(41))
return list(sets), no_new_privileges, bounding
"""
    )
    capabilities, no_new_privileges, bounding = probe(body)
    assert capabilities == [0] * 6
    assert no_new_privileges == 1
    assert bounding == 0


@pytest.mark.parametrize(
    "attempt",
    [
        "call('unshare', 0x10000000)",
        "call('unshare', 0x00020000)",
        "call('setns', 0, 0)",
        "call('mount', b'tmpfs', b'/scratch', b'tmpfs', 0, None)",
        "call('umount2', b'/scratch', 2)",
        "call('chroot', b'/usr')",
        "call('pivot_root', b'/', b'/')",
        "call('sethostname', b'x', 1)",
        "call('setuid', 0) if libc.getuid() else (-1, '')",
        "call('setuid', 12345)",
        "call('ptrace', 16, 1, 0, 0)",
        "call('ptrace', 0, 0, 0, 0)",
        "call('process_vm_readv', 1, None, 0, None, 0, 0)",
        "call('process_vm_writev', 1, None, 0, None, 0, 0)",
        "call('syscall', 438, 0, 0, 0)",  # pidfd_getfd
        "call('syscall', 434, 1, 0)",  # pidfd_open
        "call('syscall', 425, 1, None)",  # io_uring_setup
        "call('syscall', 321, 0, None, 0)",  # bpf
        "call('syscall', 298, None, 0, 0, 0, 0)",  # perf_event_open
        "call('personality', 0x0040000)",
        "call('keyctl', 0, -3, 1) if hasattr(libc, 'keyctl') else (-1, '')",
        "call('shmget', 0, 1 << 20, 0o1666)",
        "call('semget', 0, 1, 0o1666)",
        "call('msgget', 0, 0o1666)",
        "call('memfd_create', b'x', 0)",
        "call('fork')",
        "call('vfork')",
        "call('syscall', 0x40000000 + 57)",  # fork by the x32 interface
        "call('execv', b'/bin/true', (ctypes.c_char_p * 2)(b'true', None))",
        "call('setpriority', 0, 1, 19)",
        "call('sched_setaffinity', 1, 8, b'\\x01' + b'\\0' * 7)",
    ],
)
def test_privileged_calls_are_refused(attempt: str, probe: Probe) -> None:
    result, _ = probe(CALL + f"return {attempt}")
    assert result == -1


def test_limits_of_the_server_cannot_be_changed(probe: Probe) -> None:
    assert "PermissionError" in probe("import resource; return resource.prlimit(1, resource.RLIMIT_NOFILE, (1, 1))")
    assert probe("import resource; return resource.getrlimit(resource.RLIMIT_CORE)") == (0, 0)
    raised = "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))"
    assert "not allowed to raise maximum limit" in probe(raised)


def test_a_program_that_lowers_its_own_limits_harms_nobody(probe: Probe) -> None:
    probe("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)); return 1")
    assert probe("return 2") == 2


# --- nothing of the trusted side is inside ----------------------------------------------------------------------------
def test_no_descriptor_but_its_own(probe: Probe) -> None:
    body = """
import os, stat
kinds = {}
for descriptor in range(256):
    try: kinds[descriptor] = stat.S_IFMT(os.fstat(descriptor).st_mode)
    except OSError: pass
return [kinds.pop(n) == stat.S_IFCHR for n in (0, 1, 2)], [kind == stat.S_IFIFO for kind in kinds.values()]
"""
    standard, others = probe(body)
    assert standard == [True] * 3
    assert others == [True]  # the pipe for frames
    read_it = """
import os
for descriptor in range(3, 256):
    try: os.fstat(descriptor)
    except OSError: continue
    return os.read(descriptor, 1)
"""
    assert "Bad file descriptor" in probe(read_it)


def test_server_memory_is_out_of_reach(probe: Probe) -> None:
    assert probe("import os; return os.getppid()") in (0, 1)
    assert probe(CALL + "return call('syscall', 312, 1, libc.getpid(), 0, 0, 0)")[0] == -1  # kcmp


def test_hash_seed_is_fixed(probe: Probe) -> None:
    """Programs whose answer depends on the order of a set of strings give the same answer every time."""
    assert probe("import sys; return sys.flags.hash_randomization") == 0
