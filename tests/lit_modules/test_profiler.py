from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.lit_modules.callbacks.profiler import Profiler
from src.utils.errors import UserError
from tests.lit_modules import tiny
from tests.lit_modules.fitting import run

ROWS = {"a": tiny.rows("a", 4)}


def profiled(place: Path, steps: int) -> Path:
    run(
        place / "run", tiny.network(), train=ROWS, validation={}, batches=tiny.batches(2, 2, steps=steps),
        callbacks=[Profiler(str(place / "profile"), skip=1, steps=1)],
    )  # fmt: skip
    return place / "profile"


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, about its own profiler
def test_the_trace_holds_the_steps(tmp_path: Path) -> None:
    """One step is skipped and one warms up, so the third of four is in it, with its products."""
    place = profiled(tmp_path, 4)
    events = json.loads((place / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert {name for event in events if (name := str(event["name"])).startswith("ProfilerStep")} == {"ProfilerStep#2"}
    assert "aten::mm" in (place / "operators.txt").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_that_is_too_short_leaves_none(tmp_path: Path) -> None:
    assert not profiled(tmp_path, 1).exists()


def test_a_trace_of_no_steps() -> None:
    with pytest.raises(UserError, match=r"callbacks\.profiler\.steps must be at least 1, got 0"):
        Profiler("x", steps=0)
