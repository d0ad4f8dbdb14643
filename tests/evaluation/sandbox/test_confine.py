from __future__ import annotations

import re
from pathlib import Path

import pytest

from src.evaluation.sandbox.guest import confine

HEADERS = [("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 0), ("/usr/include/asm-generic/unistd.h", 1)]


@pytest.mark.parametrize(("header", "column"), HEADERS, ids=["x86_64", "aarch64"])
def test_numbers_are_the_kernels(header: str, column: int) -> None:
    if not Path(header).exists():
        pytest.skip(f"needs {header} (linux-libc-dev)")
    pairs = re.findall(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\s*$", Path(header).read_text(), re.MULTILINE)
    theirs = {name: int(number) for name, number in pairs}
    special = {"clone": confine._CLONE, "clone3": confine._CLONE3, "prlimit64": confine._PRLIMIT}
    special |= {"socketpair": confine._SOCKETPAIR, "sendto": confine._SENDTO, "fcntl": confine._FCNTL}
    special |= {"kill": confine._KILL_CALL, "tgkill": confine._TGKILL}
    for name, numbers in (confine._DENIED | special).items():
        assert numbers[column] == theirs.get(name, -1), name


def test_every_jump_lands_inside_the_program() -> None:
    program = confine.build_filter(1)
    instructions = [program[at : at + 8] for at in range(0, len(program), 8)]
    for place, code in enumerate(instructions):
        if code[0] & 0x07 == 0x05:
            assert place + 1 + max(code[2], code[3]) < len(instructions)
    assert instructions[-1][0] == 0x06
    assert len(instructions) < 4096
