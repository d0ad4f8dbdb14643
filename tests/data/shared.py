"""Real data files beside the checkout; tests that need them are skipped where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / ".." / "shared"
needs_shared = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the data files of ../shared")


def shared(*parts: str) -> Path:
    """A path below ../shared."""
    return FOLDER.joinpath(*parts).resolve()
