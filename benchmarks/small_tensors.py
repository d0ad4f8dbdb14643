"""Checkpoints of very many small tensors, where the work per tensor counts: one point, beside mergekit-yaml.

    python -m benchmarks.small_tensors --work /tmp/small --tensors 20000 --limit 200

Every row is a separate process, timed from start to end, imports included.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml

from benchmarks.machine import machine
from src.checkpoints.writer import write_checkpoint

SPECIALISTS = ("codegen", "codesum")
METHODS = {"linear": {}, "ties": {"density": 0.5}}
HIDDEN = 16


def make_family(directory: Path, count: int) -> None:
    """A Llama-shaped family: 9 small tensors per layer, and two outside of the layers."""
    layers = (count - 2) // 9
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (64, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}{norm}.weight": (HIDDEN,) for norm in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{at}self_attn.{name}_proj.weight": (HIDDEN, HIDDEN) for name in "qkvo"}
        shapes |= {f"{at}mlp.{name}_proj.weight": (HIDDEN, HIDDEN) for name in ("gate", "up", "down")}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "vocab_size": 64,
        "intermediate_size": HIDDEN, "num_hidden_layers": layers, "num_attention_heads": 1, "num_key_value_heads": 1,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator) * 0.02 for name, shape in shapes.items()}
    for parent in ("base", *SPECIALISTS):
        moved = {
            name: (w + torch.randn(w.shape, generator=generator) * 1e-3 * (parent != "base")).bfloat16()
            for name, w in base.items()
        }
        write_checkpoint(directory / parent, moved)
        (directory / parent / "config.json").write_text(json.dumps(config))


def ours(family: Path, method: str) -> list[str]:
    """Our command for one point."""
    parents = [f"base={family / 'base'}", *(f"specialists.{name}={family / name}" for name in SPECIALISTS)]
    return [sys.executable, "merge.py", f"merge={method}", "merge.weight=0.3", *parents, f"output={family / 'out'}"]


def theirs(family: Path, method: str) -> list[str]:
    """mergekit's command for the same point."""
    models = [
        {"model": str(family / name), "parameters": {"weight": weight} | METHODS[method]}
        for name, weight in zip(SPECIALISTS, (0.3, 0.7), strict=True)
    ]
    content = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if method != "linear":
        content["base_model"] = str(family / "base")
    (family / "mergekit.yaml").write_text(yaml.safe_dump(content))
    script = Path(sys.executable).with_name("mergekit-yaml")
    return [str(script), str(family / "mergekit.yaml"), str(family / "out"), "--no-copy-tokenizer", "--quiet"]


def seconds(command: list[str], family: Path, limit: float) -> float | None:
    """Duration of a command; None if it does not end within the limit."""
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return None
    finally:
        shutil.rmtree(family / "out", ignore_errors=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="directory for checkpoints, made if absent")
    parser.add_argument("--tensors", type=int, default=20_000)
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a command is stopped")
    arguments = parser.parse_args()
    family = arguments.work / f"small-{arguments.tensors}"
    if not (family / SPECIALISTS[-1] / "config.json").is_file():
        make_family(family, arguments.tensors)
    print(machine("torch", "numba", "mergekit"))
    print("| one point | ours, seconds | mergekit-yaml | ratio |\n|---|---|---|---|")
    for method in METHODS:
        own, peer = (seconds(command(family, method), family, arguments.limit) for command in (ours, theirs))
        ratio = f"{peer / own:.1f}x" if own and peer else ""
        cells = [f"{value:.1f}" if value else f"over {arguments.limit:g}" for value in (own, peer)]
        print(f"| {method} | {' | '.join(cells)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
