from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import doctor

ROOT = Path(doctor.__file__).parent


def test_this_environment_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert f"{len(doctor._requirements())} packages" in printed
    assert "torch 2." in printed
    assert all(f"\n  {name} " in printed for name in (*doctor.OPTIONAL, *doctor.PROGRAMS, "sandbox", "NVIDIA GPU"))


def test_missing_and_old_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = dict.fromkeys(doctor._requirements(), "99.0") | {
        "torch": None, "hydra-core": "1.4.0", "omegaconf": "2.3.0.dev1", "evalplus": "0.3.1",
    }  # fmt: skip
    monkeypatch.setattr(doctor, "_version", found.get)
    assert doctor.main() == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "torch missing expected torch>=2.9" in lines
    assert "hydra-core 1.4.0 expected hydra-core>=1.3,<1.4" in lines
    assert not any(line.startswith(("omegaconf", "evalplus", "numpy")) for line in lines)
    assert "vllm missing" in " ".join(lines)


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("1.3.2", ">=1.3,<1.4", True), ("1.4", ">=1.3,<1.4", False), ("2.13.0+cpu", ">=2.9", True),
        ("2", ">=2.0.0", True),
        ("0.3.1", "==0.3.1", True), ("0.3.10", "==0.3.1", False),
        ("5.0.0rc1", ">=5", True), ("10", ">=9", True),
    ],
)  # fmt: skip
def test_versions_are_compared_as_numbers(version: str, bounds: str, fits: bool) -> None:
    assert doctor._fits(version, bounds) is fits


def test_it_runs_where_nothing_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(ROOT / "doctor.py")], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert "torch" in done.stdout
    assert "make study" in done.stdout
    assert not done.stderr
