"""Commit, versions and machine: the conditions of a run that its config does not record."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from src.utils.threads import cpu_threads

LIBRARIES = (
    "torch", "transformers", "tokenizers", "lightning", "peft", "bitsandbytes", "flash_attn", "liger_kernel", "vllm",
    "mergekit", "evalplus", "numpy", "numba", "sacrebleu", "nltk", "rouge_score",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Commit, versions and machine of this process."""
    return {
        "commit": _git_commit(),
        "versions": dict(_versions()),
        "machine": {
            "platform": platform.platform(), "cpus": os.cpu_count(), "threads": cpu_threads(),
            "processes": int(os.environ.get("WORLD_SIZE", "1")), **_gpus(),
        },
    }  # fmt: skip


def _gpus() -> dict[str, Any]:
    """GPUs and CUDA of a process that has imported torch; others use neither."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {"gpus": []}
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"gpus": names, "cuda": torch.version.cuda}


@cache  # a sweep opens many runs
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


@cache
def _git_commit() -> str | None:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return answer.stdout.strip() or None if answer.returncode == 0 else None
