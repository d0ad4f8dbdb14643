"""Say what is installed on this machine, what each missing piece disables, and whether the versions go together.

python doctor.py

It imports only Python's standard library, so that it also runs where nothing is installed yet. Exit code 1: something
without which nothing works is missing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NEWEST_TESTED = (3, 14)
# distribution -> what happens without it, and how to install it
OPTIONAL = {
    "flash-attn": ("attention=auto takes the next fastest kernel", "pip install flash-attn --no-build-isolation"),
    "liger-kernel": ("GPU training runs without Liger's kernels", "pip install '.[gpu]'"),
    "vllm": (
        "generator=vllm is refused; generator=hf and openai work",
        "an environment of its own: docs/evaluation.md",
    ),
    "hydra-submitit-launcher": ("no hydra/launcher=submitit_slurm", "pip install '.[cluster]'"),
    "hydra-joblib-launcher": ("no hydra/launcher=joblib", "pip install '.[cluster]'"),
    "tensorboard": ("no logger=tensorboard", "pip install '.[trackers]'"),
    "wandb-workspaces": ("no W&B Report (logger.report=true)", "pip install '.[trackers]'"),
    "mlflow": ("no logger=mlflow", "pip install '.[trackers]'"),
}
# program -> what happens without it, and the package of Debian and Ubuntu that holds it
PROGRAMS = {
    "node": ("benchmark=multipl_e_js is refused", "nodejs"),
    "javac": ("benchmark=multipl_e_java is refused", "default-jdk-headless"),
    "g++": ("benchmark=multipl_e_cpp is refused", "g++"),
    "sbatch": ("no jobs on a Slurm cluster from this machine", "slurm-client"),
}
Line = tuple[str, str, str]  # name, state, remark


def main() -> int:
    """Print the report; return the exit code."""
    core = list(_core())
    for title, lines in (
        ("Needed for everything", [*_python(), *core]),
        ("Optional packages", list(_packages())),
        ("Machine", [*_gpus(), *_isolation(), *_programs()]),
    ):
        print(f"\n{title}")
        for name, state, remark in lines:
            print(f"  {name:<26} {state:<14} {remark}".rstrip())
    if any(state != "ok" for _, state, _ in core):
        print("\nRun `make study`, which prepares .venv, then `source .venv/bin/activate`.")
        return 1
    return 0


def _python() -> Iterator[Line]:
    found = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= NEWEST_TESTED
    yield "Python", found, "" if fits else "3.11 to 3.14 are tested; make study PYTHON=python3.12"
    if sys.prefix == sys.base_prefix:
        yield "environment", "none", "no virtual environment is active"


def _core() -> Iterator[Line]:
    """One line for all requirements that are met, one for each other."""
    wanted = _requirements()
    wrong = {name: found for name, bounds in wanted.items() if not _fits(found := _version(name), bounds)}
    for name, found in wrong.items():
        yield name, found or "missing", f"expected {name}{wanted[name]}"
    if not wrong:
        yield (
            f"{len(wanted)} packages",
            "ok",
            ", ".join(
                f"{name} {_version(name)}" for name in ("torch", "lightning", "transformers", "mergekit", "evalplus")
            ),
        )


def _requirements() -> dict[str, str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None, "pyproject.toml has no dependencies"
    pairs = re.findall(r'"([A-Za-z0-9_.-]+)([^"]*)"', block[1])
    return {name: bounds.strip() for name, bounds in pairs}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fits(found: str | None, bounds: str) -> bool:
    """Compare the numbers of a version with bounds such as `>=1.3,<1.4`."""
    if found is None:
        return False
    tests = {">=": tuple.__ge__, "<": tuple.__lt__, "==": tuple.__eq__, "<=": tuple.__le__, ">": tuple.__gt__}
    for sign, bound in re.findall(r"(>=|<=|==|<|>)\s*([\d.]+)", bounds):
        mine, theirs = _numbers(found), _numbers(bound)
        length = max(len(mine), len(theirs))
        if not tests[sign](mine + (0,) * (length - len(mine)), theirs + (0,) * (length - len(theirs))):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release is not None else ()


def _packages() -> Iterator[Line]:
    for name, (without, how) in OPTIONAL.items():
        found = _version(name)
        yield (name, found, "") if found else (name, "missing", f"{without} ({how})")


def _gpus() -> Iterator[Line]:
    if not shutil.which("nvidia-smi"):
        yield "NVIDIA GPU", "none", "the pocket study and debug=shrink run on a CPU; 1.3B to 14B models need a GPU"
        return
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines() or [done.stderr.strip() or "nvidia-smi shows none"]:
        yield "NVIDIA GPU", "ok" if done.stdout else "fails", line.strip()


def _isolation() -> Iterator[Line]:
    if shutil.which("bwrap"):
        yield "sandbox", "ok", "bubblewrap"
        return
    unshare = shutil.which("unshare")
    works = (
        unshare is not None
        and not subprocess.run([unshare, "-Ur", "true"], capture_output=True, check=False).returncode
    )
    remark = "user namespaces" if works else "generated programs run with sandbox=unsafe only (apt install bubblewrap)"
    yield "sandbox", "ok" if works else "missing", remark


def _programs() -> Iterator[Line]:
    for name, (without, package) in PROGRAMS.items():
        path = shutil.which(name)
        yield (name, "ok", path) if path else (name, "missing", f"{without} (apt install {package})")


if __name__ == "__main__":
    sys.exit(main())
