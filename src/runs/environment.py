"""Commit, versions and machine: the conditions of a run that its config does not record."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from src.utils.threads import cpu_threads

LIBRARIES = ("torch", "transformers", "lightning", "mergekit", "evalplus", "numpy", "sacrebleu", "nltk", "rouge_score")


def environment() -> dict[str, Any]:
    """Commit, versions and machine of this process."""
    return {
        "commit": _git_commit(),
        "versions": dict(_versions()),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "threads": cpu_threads()},
    }


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
