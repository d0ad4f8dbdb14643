"""The diagnosis of two specialists against the same quantities in plain numpy, on the same checkpoints.

    python -m benchmarks.diagnose --work /tmp/diagnose --make     # write the checkpoints: 0.39B, 2.4 GB of disk
    python -m benchmarks.diagnose --work /tmp/diagnose            # measure, and remove them
    ... --shape 1.5B                                              # 9.3 GB of disk; numpy needs 20 GB of memory

Every row is a separate process, timed from start to end, imports included. The numpy version loads all three
checkpoints and then, layer by layer, subtracts, concatenates and calls numpy: norms, `corrcoef` and cosines at
thresholds 0, 0.1 and 0.3, signs, and the overlap of the largest 1 %. Both print Pearson's r over the whole model.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.machine import machine
from benchmarks.merge_grid import SMALL, SPECIALISTS, table
from src.checkpoints import Checkpoint, CheckpointWriter
from src.checkpoints.layers import locate
from src.diagnostics.weight_diagnosis import DiagnosisSettings, diagnose_weights

SHAPES = {
    "0.39B": (17, SMALL),
    "1.5B": (28, {"hidden": 1536, "inner": 8960, "vocabulary": 151_936, "values": 256, "tied": True}),
}
WAYS = {"numpy": "plain numpy", "ours": "ours, without spectra", "spectra": "ours, with spectra of rank 16"}
THRESHOLDS, TOP = (0.0, 0.1, 0.3), 0.01


@dataclass(frozen=True)
class Row:
    """One measured process."""

    seconds: float
    peak: int  # bytes
    said: str


def make_family(directory: Path, shape: str) -> None:
    """Random weights plus random updates of which a part is common; bfloat16."""
    layers, sizes = SHAPES[shape]
    tensors, generator = table(layers, **sizes), torch.Generator().manual_seed(0)
    with ExitStack() as stack:
        names = ("base", *SPECIALISTS)
        base, *others = [stack.enter_context(CheckpointWriter(directory / name, tensors)) for name in names]
        for name, info in tensors.items():
            weights, common = (torch.randn(2, *info.shape, generator=generator)) * 0.02
            base.write(name, weights.bfloat16())
            for writer, scale in zip(others, SPECIALISTS.values(), strict=True):
                own = torch.randn(info.shape, generator=generator) * scale
                writer.write(name, (weights.bfloat16().float() + own + common * 0.01).bfloat16())
    for name in ("base", *SPECIALISTS):
        (directory / name / "config.json").write_text('{"model_type": "qwen2", "tie_word_embeddings": true}')


def ours(family: Path, rank: int) -> None:
    """The function that `diagnose.py` calls."""
    variants = {name: Checkpoint(family / name) for name in SPECIALISTS}
    found = diagnose_weights(Checkpoint(family / "base"), variants, DiagnosisSettings(spectra_rank=rank)).correlations
    whole = found[(found["layer"] == "all") & (found["kind"] == "all")].iloc[0]
    print(f"r {whole['pearson']:.6f}, cut {whole['pearson_thresholded']:.6f}, top {whole['top_overlap']:.4f}")


def plain_numpy(family: Path) -> None:
    """Load everything, then one layer after another; the whole model from sums over layers."""
    base, *others = [load_file(family / name / "model.safetensors") for name in ("base", *SPECIALISTS)]
    layers: dict[str, list[str]] = {}
    for name in base:
        if name.endswith(".weight"):
            layers.setdefault(locate(name).layer, []).append(name)
    total = np.zeros(6)
    for names in layers.values():
        start = {name: base[name].float().numpy() for name in names}
        pairs = [[(other[name].float().numpy() - start[name]).ravel() for name in names] for other in others]
        first, second = (np.concatenate(deltas) for deltas in pairs)
        for threshold in THRESHOLDS:
            cut = [[np.where(np.abs(d) >= threshold * np.abs(d).max(), d, 0) for d in deltas] for deltas in pairs]
            one, other = (np.concatenate(deltas) for deltas in cut)
            np.corrcoef(one, other)
            one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
        np.linalg.norm(np.concatenate([start[name].ravel() for name in names]))
        both = (first != 0) & (second != 0)
        np.mean(np.sign(first[both]) != np.sign(second[both]))
        for one, other in zip(*pairs, strict=True):
            count = max(1, round(TOP * one.size))
            marks = [np.abs(d) >= np.partition(np.abs(d), -count)[-count] for d in (one, other)]
            (marks[0] & marks[1]).sum()
        parts = (first.size, first.sum(), second.sum(), first @ first, second @ second, first @ second)
        total += np.array(parts, float)
    n, a, b, aa, bb, ab = total
    print(f"r {(ab - a * b / n) / ((aa - a * a / n) * (bb - b * b / n)) ** 0.5:.6f}")


def measure(family: Path, way: str) -> Row:
    """One process; peak is its resident set."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.diagnose", "--work", str(family), "--child", way]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{way} failed")
    row = Row(time.perf_counter() - started, usage.ru_maxrss * 1024, said)
    print(f"{way}: {row.seconds:.1f} s, {row.peak / 1e9:.2f} GB, {said}", file=sys.stderr, flush=True)
    return row


def main() -> None:
    """Write the family, or measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="0.39B")
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--child", choices=WAYS)
    options = parser.parse_args()
    if options.make:  # apart from the measurement: a process starts with the peak memory of its parent
        make_family(options.work / options.shape, options.shape)
    elif options.child == "numpy":
        plain_numpy(options.work)
    elif options.child:
        ours(options.work, 16 if options.child == "spectra" else 0)
    else:
        print(machine("numpy", "torch", "numba"))
        family = options.work / options.shape
        measure(family, "ours")  # compiled kernels and the page cache
        rows = {way: measure(family, way) for way in WAYS}
        print("| parameters | way | seconds | ratio | peak GB | Pearson |\n|---|---|---|---|---|---|")
        for way, row in rows.items():
            numbers = f"{row.seconds:.1f} | {rows['numpy'].seconds / row.seconds:.1f}x | {row.peak / 1e9:.2f}"
            print(f"| {options.shape} | {WAYS[way]} | {numbers} | {row.said} |", flush=True)
        shutil.rmtree(family)


if __name__ == "__main__":
    main()
