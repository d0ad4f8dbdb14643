"""Fine-tuning at full size on one GPU: MFU, tokens a second and memory, by model and attention backend.

    python -m benchmarks.train_throughput --gpu

Random weights in the published sizes, real rows packed to 4096 tokens, bfloat16 over float32 master weights; MFU is the
share of the rate that this GPU reaches on large bfloat16 matrix products. The 7B model takes 8-bit AdamW, with which it
is meant to fit one card of 139 GiB. Aims: 45 % at 1.5B and 50 % at 7B on an H200 or H100. A backend that is not
installed leaves its row blank. Every row is a process of its own.

It has not been run yet: no GPU was at hand when it was written.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks.machine import machine
from benchmarks.train_work import real_tables
from src.data.budget import Budget
from src.lit_modules.fit import fit
from src.lit_modules.flops import measured_peak
from src.lit_modules.options import BatchOptions, OptimizerOptions, TrainerOptions
from src.lit_modules.watch import Watched
from src.models import apply_kernels, choose_attention, draw_model, load_tokenizer, model_config, recompute_activations
from src.models.attention import BACKENDS
from src.stages.build import build
from src.stages.job import compose_job
from src.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LENGTH, STEPS, WARM_STEPS, STEP_TOKENS = 4096, 8, 3, 2**17
# by model: optimiser, whether activations are recomputed, packs of a forward pass
SETTINGS = {"qwen1.5b": ("adamw", False, 4), "qwen7b": ("adamw8bit", True, 4)}


class Measured(Exception):
    """Enough steps are done; a checkpoint of 80 GB is not wanted."""


class Stop(L.Callback):
    """Ends training after so many steps."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Ends it."""
        if trainer.global_step == STEPS:
            raise Measured


class Stopping(Watched):
    """Nothing is measured beside the loss."""

    def callbacks(self, *_: Any) -> list[L.Callback]:
        """The one that ends training."""
        return [Stop()]


def measure(data: Path) -> None:
    """Print the table."""
    columns = ("model", "attention", "optimizer", "recomputed", "tokens/s", "answer tokens/s", "MFU", "peak GiB")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for model, (optimizer, recomputed, _) in SETTINGS.items():
        for attention in BACKENDS:
            found = _in_process(model, attention, data)
            print("| " + " | ".join([model, attention, optimizer, str(recomputed), *_cells(found)]) + " |", flush=True)
    peak = measured_peak(torch.bfloat16)
    print(json.dumps({"peak_tflops": round(peak / 1e12), **machine("torch", "transformers", "lightning")}))


def _cells(found: dict[str, float] | str) -> Sequence[str]:
    if isinstance(found, str):
        return [found, "", "", ""]
    return [
        f"{found['tokens_per_second']:.0f}",
        f"{found['answer_tokens_per_second']:.0f}",
        f"{found['mfu']:.1%}",
        f"{found['peak_memory_gib']:.0f}",
    ]


def _in_process(model: str, attention: str, data: Path) -> dict[str, float] | str:
    """Figures of a run, or the last line of what it said instead."""
    command = [sys.executable, "-m", "benchmarks.train_gpu", model, attention, str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def run(model: str, attention: str, data: Path) -> dict[str, float]:
    """Medians over the steps after the first ones."""
    kind, recomputed, packs = SETTINGS[model]
    spec = build(compose_job("train", [f"model={model}"]).cfg.model)
    backend = choose_attention(attention, packed=True, half=True, gpu=True)
    tokenizer = load_tokenizer(data / "tokenizers" / "qwen2.5-7b-instruct")
    tables = real_tables(data, tokenizer, LENGTH)
    with torch.device("cuda"):
        network = draw_model(model_config(None, spec.architecture), seed=0)
    network.set_attn_implementation(backend)
    if recomputed:
        recompute_activations(network)
    apply_kernels(network)
    rows = list[dict[str, Any]]()
    batches = BatchOptions(Budget(batch_tokens=STEP_TOKENS, steps=STEPS), packs, LENGTH, packing=True)
    with tempfile.TemporaryDirectory() as place, contextlib.suppress(Measured):
        fit(
            network, tables, {}, pad_token=int(tokenizer.pad_token_id), work_dir=Path(place),
            optimizer=OptimizerOptions(1e-5, kind=kind), batches=batches, trainer=TrainerOptions("gpu", devices=1),
            watch=Stopping(), on_record=rows.append,
        )  # fmt: skip
    names = ("tokens_per_second", "answer_tokens_per_second", "mfu", "peak_memory_gib")
    return {name: statistics.median(row[name] for row in rows[WARM_STEPS:]) for name in names}


def main() -> None:
    """One row of the table."""
    model, attention, data = sys.argv[1:]
    try:
        print(json.dumps(run(model, attention, Path(data))))
    except UserError as error:
        raise SystemExit(str(error).split(":")[0]) from error


if __name__ == "__main__":
    main()
