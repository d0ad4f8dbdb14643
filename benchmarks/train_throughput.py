"""Answer tokens per second of fine-tuning: ours, Hugging Face's `Trainer`, and packed SFT of TRL and LLaMA-Factory.

    python -m benchmarks.train_throughput --trl-python TRL/bin/python --llamafactory-python LF/bin/python

    python -m benchmarks.train_throughput --gpu     # full-size models on one H200 or H100: see train_gpu.py

On the CPU all train the same small Qwen2 from the same weights, for one epoch over the same real rows (KodCode
questions with their solutions, CodeXGLUE functions with their docstrings) tokenized with Qwen2.5's tokenizer, with
AdamW, the same average rows per step, clipping and schedule, in float32. Only token ids that occur are kept,
renumbered, so that the output head's share of the work is about that in a real model (with 152k rows it would be most
of the work, and a trainer that skips prompt tokens there would gain more). Each contender runs in its own process after
a warm-up step; contenders take turns, and the fastest round counts.

The packed peers need their own environments: `TRL/bin/pip install torch==2.13.0 transformers==5.23.0 trl`,
`LF/bin/pip install torch==2.13.0 llamafactory==0.9.5` (which brings an older transformers; where torchvision and
torchaudio do not match torch, uninstall them and put an empty torchaudio.py in their place). A peer that is not named
is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.train_work import DATA, Work, prepare

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    "padded": "HF Trainer, padded, micro-batch 8",
    "grouped": "HF Trainer, padded, grouped by length",
    "trl": "TRL SFTTrainer, packed (bfd)",
    "llamafactory": "LLaMA-Factory, packed (neat_packing)",
    "ours": "ours, packed",
}
PEERS = ("trl", "llamafactory")  # each in its own environment

Result = dict[str, Any]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with kodcode/, codexglue/, tokenizers/")
    parser.add_argument("--rows", type=int, default=128, help="half of each task")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=2)
    for name in PEERS:
        parser.add_argument(f"--{name}-python", type=Path, help="interpreter of an environment that has it")
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--gpu", action="store_true", help="full-size models on one GPU (further options: --gpu --help)"
    )
    if "--gpu" in sys.argv:
        from benchmarks import train_gpu

        sys.argv.remove("--gpu")
        train_gpu.main()
        return
    given = parser.parse_args()
    pythons = {name: vars(given)[f"{name}_python"] for name in PEERS}
    names = [name for name in given.contenders if pythons.get(name, sys.executable) is not None]
    with tempfile.TemporaryDirectory() as scratch:
        work = prepare(given.data, Path(scratch), given.rows, given.max_length)
        places = [(name, pythons.get(name, sys.executable)) for _ in range(given.rounds) for name in names]
        runs = [(name, _run(name, Path(scratch), python)) for name, python in places]
    fastest = {name: min((r for n, r in runs if n == name), key=lambda result: result["seconds"]) for name in names}
    report(work, fastest)


def _run(name: str, folder: Path, python: str | Path) -> Result:
    """One contender in its own process; its last line is its result."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-m", "benchmarks.train_contenders", name, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    print(f"{NAMES[name]}: {result['seconds']:.1f} s", file=sys.stderr, flush=True)
    return result


def report(work: Work, results: dict[str, Result]) -> None:
    """The table, the machine, and what was trained."""
    columns = (
        "trainer",
        "answer tokens/s",
        "ratio",
        "real tokens/s",
        "padding",
        "seconds",
        "processor s",
        "GiB",
        "loss",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    first = next(iter(results.values()))
    for name, one in results.items():
        cells: Sequence[object] = (
            NAMES[name],
            f"{work.answer_tokens / one['seconds']:.0f}",
            f"{first['seconds'] / one['seconds']:.2f}x",
            f"{work.tokens / one['seconds']:.0f}",
            f"{1 - work.tokens / one['fed_tokens']:.0%}",
            f"{one['seconds']:.1f}",
            f"{one['processor_seconds']:.1f}",
            f"{one['peak_memory_gib']:.1f}",
            f"{one['loss']:.3f}",
        )
        print("| " + " | ".join(map(str, cells)) + " |")
    print(json.dumps({**asdict(work), **machine("torch", "transformers", "lightning")}))


if __name__ == "__main__":
    main()
