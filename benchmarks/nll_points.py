"""Merge points scored by validation loss per minute: `python benchmarks/nll_points.py [width] [points] [rows]`.

A pocket base of random weights with two "specialists" (the base plus noise) is merged at many points of five methods;
each point's answers of 128 validation rows per task are scored. Times do not depend on what the weights are.
One process, one thread per forward pass; merging uses the cores. With `processes=2`, two of them share the points.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine
from safetensors.torch import load_file, save_file

from src.pocket.model import PocketModel
from src.pocket.sources import PocketSource
from src.stages.evaluate.point_losses import PointLosses
from src.stages.job import compose_job
from src.stages.merge.lazy_points import lazy_points
from src.utils.errors import UserError

METHODS = ("linear", "ties", "dare", "della", "task_arithmetic")


def parents(place: Path, width: int) -> None:
    """Write base and specialists."""
    rows = PocketSource("base").examples("train")
    base = PocketModel(vocabulary=1024, width=width, layers=2, heads=6, key_value_heads=2, mlp_width=width * 7 // 3)
    base.write(place / "base", rows, seed=0)
    weights = load_file(place / "base" / "model.safetensors")
    for number, task in enumerate(("codegen", "codesum")):
        shutil.copytree(place / "base", place / task)
        noise = torch.Generator().manual_seed(number)
        moved = {name: values + 0.01 * torch.randn(values.shape, generator=noise) for name, values in weights.items()}
        save_file(moved, place / task / "model.safetensors", {"format": "pt"})


def share(place: Path, count: int, rows: int, part: int, parts: int) -> float:
    """Score one process's share of the points; returns its seconds."""
    torch.set_num_threads(1)
    keys = [f"base={place}/base", *(f"specialists.{task}={place}/{task}" for task in ("codegen", "codesum"))]
    jobs = []
    nodes = {method: compose_job("merge", [f"merge={method}", *keys]) for method in METHODS}
    for number in range(part, count, parts):
        job = nodes[METHODS[number % len(METHODS)]]
        cfg = job.cfg.copy()
        first, second = np.random.default_rng(number).uniform(0.1, 1.2, 2).round(3).tolist()
        cfg.merge.weights = {"codegen": first, "codesum": second}
        jobs.append(type(job)(job.script, job.overrides, cfg))
    started = time.monotonic()
    points = lazy_points(jobs, place / f"files{part}")
    measure = PointLosses.of(
        compose_job("evaluate", ["benchmark=nll", f"benchmark.limit={rows}", f"output_root={place}"])
    )
    found = measure.measure(
        {f"{number}": point for number, point in enumerate(points) if not isinstance(point, UserError)}
    )
    assert len(found) == len(jobs)
    assert not any(isinstance(one, UserError) for one in found.values())
    return time.monotonic() - started


def main(width: int = 96, count: int = 1000, rows: int = 128, processes: int = 2) -> None:
    """Print points per minute."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        parents(place, width)
        started = time.monotonic()
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            seconds = pool.starmap(share, [(place, count, rows, part, processes) for part in range(processes)])
        total = time.monotonic() - started
        print(machine())
        print(
            f"width {width}, {count} points, {rows} rows per task, {processes} process(es): {total:.1f} s in all, "
            f"{1000 * total / count:.0f} ms per point (scoring alone: {', '.join(f'{one:.1f}' for one in seconds)} s)"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
