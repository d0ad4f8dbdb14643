"""Speed of earlier training runs, for the estimated time of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.runs.environment import environment
from src.runs.finished import RECORD, read_record
from src.utils.errors import UserError

ALIKE = ("cpus", "gpus")  # of a machine, for its speed to be comparable
FEWEST_STEPS = 10  # the first steps of a run are slow


@dataclass(frozen=True)
class Rate:
    """A measured speed.

    Args:
        tokens_per_second: Tokens of prompts and answers per second of training, over all processes.
        run: The run that shows it.
    """

    tokens_per_second: float
    run: Path


def measured_rate(output_root: Path, model: str, parameters: tuple[int, int], processes: int) -> Rate | None:
    """The speed of the latest finished run of a model with as many processes on a machine like this one.

    Args:
        output_root: Directory of all runs.
        model: Its name.
        parameters: Numbers of its weights and of those that are trained.
        processes: Processes of the planned run.
    """
    machine = environment()["machine"]
    records = sorted((output_root / "train").glob(f"*/{RECORD}"), key=lambda path: -path.stat().st_mtime)
    for path in records:
        try:
            record = read_record(path.parent)
        except UserError:  # a damaged record is no reason to refuse the next run
            continue
        rate = None if record is None else _rate(record, path.parent, model, parameters)
        if rate is None or record is None or record["machine"]["processes"] != processes:
            continue
        if all(record["machine"].get(key) == machine[key] for key in ALIKE):
            return rate
    return None


def _rate(record: Mapping[str, Any], run: Path, model: str, parameters: tuple[int, int]) -> Rate | None:
    results = record.get("results", {})
    cost, sizes = results.get("cost"), results.get("parameters", {})
    if not cost or record["config"]["model"]["name"] != model or tuple(sizes.values()) != parameters:
        return None
    if cost["steps"] < FEWEST_STEPS or cost["seconds"] <= 0:
        return None
    return Rate(cost["tokens"] / cost["seconds"], run)
