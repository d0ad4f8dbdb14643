"""Fine-tuning at full size on one GPU: MFU, tokens per second and memory, by model and attention backend.

    python -m benchmarks.train_throughput --gpu                             # everything, about half an hour
    python -m benchmarks.train_throughput --gpu --models qwen7b --attention varlen --compiled

A trial of this script without a GPU:

    python -m benchmarks.train_throughput --gpu --models qwen1.5b --attention varlen sdpa --overrides trainer=cpu \\
        model.init=random model.shrink=true strategy.max_length=512 strategy.batch_tokens=8192

Random weights in the published sizes, real rows packed to 4096 tokens, bfloat16 over float32 master weights; MFU is
relative to the rate that this GPU reaches on large bfloat16 matrix products. The 7B model uses 8-bit AdamW, which
should make it fit one 139 GiB card. Available memory decides whether activations are recomputed, as in training.
Targets: 45% at 1.5B and 50% at 7B on an H200 or H100. A backend that is not installed leaves its row blank. Every row
    is a separate
process.

It has not been run on a GPU yet: none was available when it was written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks.machine import machine
from benchmarks.train_work import DATA, real_tables
from src.data.mixture import MixOptions
from src.lit_modules.callbacks.throughput import Throughput
from src.lit_modules.datamodule import TrainingRows
from src.lit_modules.fit import METRICS, fit
from src.lit_modules.flops import measured_peak
from src.lit_modules.options import CheckpointOptions
from src.lit_modules.world import World
from src.models import ModelSpec, choose_attention, draw_model, load_tokenizer, model_config
from src.models.attention import BACKENDS
from src.stages.build import build
from src.stages.job import compose_job
from src.stages.train.network import for_this_machine, prepare_network
from src.stages.train.options import TrainingOptions
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl

ROOT = Path(__file__).resolve().parents[1]
LENGTH, STEPS, WARM_STEPS, STEP_TOKENS = 4096, 6, 2, 2**17
OPTIMIZERS = {"qwen1.5b": "adamw", "qwen7b": "adamw8bit"}
COLUMNS = (
    "model",
    "attention",
    "compiled",
    "optimizer",
    "recomputed",
    "tokens/s",
    "answer tokens/s",
    "MFU",
    "peak GiB",
)


class Measured(Exception):
    """Enough steps are done; the weights are not needed."""


class Stop(L.Callback):
    """End training after a given number of steps."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """End training."""
        if trainer.global_step == STEPS:
            raise Measured


def main() -> None:
    """The table, or one row of it in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with kodcode/, codexglue/, tokenizers/")
    parser.add_argument("--models", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--attention", nargs="+", choices=[*BACKENDS, "auto"], default=list(BACKENDS))
    parser.add_argument("--compiled", action="store_true", help="torch.compile on every layer")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--overrides", nargs="+", default=[], help="further settings of train.py")
    given = parser.parse_args()
    if given.row:
        try:
            found = run(given.models[0], given.attention[0], given.compiled, given.data, given.overrides)
            print(json.dumps(found))
        except UserError as error:
            raise SystemExit(str(error)) from error
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for model in given.models:
        for attention in given.attention:
            found = _in_process(model, attention, given)
            cells = [model, attention, str(given.compiled), OPTIMIZERS[model], *_cells(found)]
            print(f"| {' | '.join(cells)} |", flush=True)
    gpu = torch.cuda.is_available()
    peak = {"peak_tflops": round(measured_peak(torch.bfloat16) / 1e12)} if gpu else {}
    print(json.dumps({**peak, **machine("torch", "transformers", "lightning")}))


def _cells(found: dict[str, float] | str) -> Sequence[str]:
    if isinstance(found, str):
        return ["", found, "", "", ""]
    return [
        str(bool(found["recomputed"])),
        f"{found['tokens_per_second']:.0f}",
        f"{found['answer_tokens_per_second']:.0f}",
        f"{found['mfu']:.1%}" if "mfu" in found else "",
        f"{found['peak_memory_gib']:.0f}",
    ]


def _in_process(model: str, attention: str, given: argparse.Namespace) -> dict[str, float] | str:
    """Figures of a run, or the last line that it printed if it failed."""
    command = [sys.executable, "-m", "benchmarks.train_gpu", "--row", "--models", model, "--attention", attention]
    command += ["--data", str(given.data), *["--compiled"] * given.compiled]
    command += ["--overrides", *given.overrides] if given.overrides else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def run(name: str, attention: str, compiled: bool, data: Path, overrides: Sequence[str]) -> dict[str, float]:
    """Medians over the steps after the first ones."""
    settings = [f"strategy.max_length={LENGTH}", f"strategy.batch_tokens={STEP_TOKENS}", f"strategy.steps={STEPS}"]
    settings += [f"optimizer={OPTIMIZERS[name]}", f"model.attention={attention}", f"model.compile={compiled}"]
    cfg = compose_job("train", [f"model={name}", "strategy=mix", "trainer=gpu", *settings, *overrides]).cfg
    spec: ModelSpec = build(cfg.model)
    options = TrainingOptions.of(cfg, spec).fit
    spec = for_this_machine(spec, None, options, World(1, 1))
    tokenizer = load_tokenizer(data / "tokenizers" / "qwen2.5-7b-instruct")
    gpu, length = options.trainer.accelerator == "gpu", options.batches.max_length
    with torch.device("cuda" if gpu else "cpu"):
        network = draw_model(model_config(None, spec.architecture, shrink=spec.shrink), seed=0)
    network.set_attn_implementation(choose_attention(attention, packed=True, half=options.trainer.half, gpu=gpu))
    prepare_network(network, spec, options.trainer.half, gpu=options.trainer.accelerator == "gpu")
    table = TrainingRows(real_tables(data, tokenizer, length), {}, int(tokenizer.pad_token_id))
    options = replace(options, mix=MixOptions(), checkpoints=CheckpointOptions(every_seconds=None), seed=0)
    with tempfile.TemporaryDirectory() as place:
        with contextlib.suppress(Measured):
            fit(network, table, options, Path(place), callbacks=[Throughput(), Stop()])
        lines = read_jsonl(Path(place) / METRICS)
    rows = [line for line in lines if "throughput/tokens_per_second" in line]
    names = ("tokens_per_second", "answer_tokens_per_second", "mfu", "peak_memory_gib")
    medians = {
        name: statistics.median(row[f"throughput/{name}"] for row in rows[WARM_STEPS:])
        for name in names
        if f"throughput/{name}" in rows[0]
    }
    return {**medians, "recomputed": float(spec.gradient_checkpointing or False)}


if __name__ == "__main__":
    main()
