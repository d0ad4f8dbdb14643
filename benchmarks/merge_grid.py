"""One pass over a merge grid, against mergekit-yaml on the same machine and the same checkpoint.

    python -m benchmarks.merge_grid --work /tmp/merge              # 0.39B parameters: about 10 minutes, 26 GB of disk
    python -m benchmarks.merge_grid --work /tmp/merge --seven-b    # also a 7B-shaped family of sparse files

Every row is a separate process, timed from start to end, imports included; mergekit's grid is its single points times
nine. The written rows are `merge.py` as it is typed, with its records, checks and hashes. Rows of the first use start
with an empty cache: kernels are compiled and parents hashed. Our writes and the plain copy's are flushed to disk before
the clock stops; mergekit's are not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import yaml

from src.checkpoints import Checkpoint, CheckpointWriter, TensorInfo
from src.checkpoints.layout import pack_header
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import Sink, ToDirectory, ToModel, ToNowhere
from src.stages.build import build
from src.stages.job import compose_job

SPECIALISTS = {"codegen": 1e-3, "codesum": 5e-4}  # name -> standard deviation of its update
GRID = [weight / 10 for weight in range(1, 10)]
SMALL = {"hidden": 896, "inner": 4864, "vocabulary": 151_936, "values": 128, "tied": True}  # Qwen2.5's 0.5B
LARGE = {"hidden": 3584, "inner": 18_944, "vocabulary": 152_064, "values": 512, "tied": False}  # and 7B


@dataclass(frozen=True)
class Row:
    """One measured process."""

    name: str
    seconds: float
    peak: int  # bytes
    read: int = 0
    written: int = 0


def table(layers: int, hidden: int, inner: int, vocabulary: int, values: int, tied: bool) -> dict[str, TensorInfo]:
    """Tensors of a Qwen2 model in bfloat16."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}{norm}.weight": (hidden,) for norm in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{at}mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes |= {f"{at}mlp.down_proj.weight": (hidden, inner), f"{at}self_attn.o_proj.weight": (hidden, hidden)}
        for name, width in (("q", hidden), ("k", values), ("v", values)):
            shapes |= {
                f"{at}self_attn.{name}_proj.weight": (width, hidden),
                f"{at}self_attn.{name}_proj.bias": (width,),
            }
    return {name: TensorInfo(shape, torch.bfloat16) for name, shape in shapes.items()}


def config(layers: int, hidden: int, inner: int, vocabulary: int, values: int, tied: bool) -> dict[str, object]:
    """The `config.json` that mergekit needs."""
    return {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": hidden // 64, "num_key_value_heads": values // 64,
        "vocab_size": vocabulary, "tie_word_embeddings": tied, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "max_position_embeddings": 32768,
    }  # fmt: skip


def make_family(directory: Path, layers: int) -> None:
    """Random weights plus random updates, once."""
    if (directory / "codesum" / "config.json").is_file():
        return
    tensors, generator = table(layers, **SMALL), torch.Generator().manual_seed(0)
    with ExitStack() as stack:
        base, *others = [
            stack.enter_context(CheckpointWriter(directory / name, tensors)) for name in ("base", *SPECIALISTS)
        ]
        for name, info in tensors.items():
            weights = (torch.randn(info.shape, generator=generator) * 0.02).bfloat16()
            base.write(name, weights)
            for writer, scale in zip(others, SPECIALISTS.values(), strict=True):
                writer.write(name, (weights + torch.randn(info.shape, generator=generator) * scale).bfloat16())
    for name in ("base", *SPECIALISTS):
        (directory / name / "config.json").write_text(json.dumps(config(layers, **SMALL)))


def make_sparse_family(directory: Path, layers: int, shard_bytes: int = 5_000_000_000) -> None:
    """A 7B-shaped family of sparse files: they read as zeros and take no disk space."""
    tensors = dict(sorted(table(layers, **LARGE).items()))
    shards: list[dict[str, TensorInfo]] = [{}]
    for name, info in tensors.items():
        if sum(one.nbytes for one in shards[-1].values()) + info.nbytes > shard_bytes:
            shards.append({})
        shards[-1][name] = info
    for parent in ("base", *SPECIALISTS):
        place = directory / parent
        place.mkdir(parents=True, exist_ok=True)
        weight_map = {}
        for index, part in enumerate(shards, 1):
            file = f"model-{index:05d}-of-{len(shards):05d}.safetensors"
            header, offsets = pack_header(part)
            (place / file).write_bytes(header)
            os.truncate(place / file, max(offsets[name] + part[name].nbytes for name in part))
            weight_map |= dict.fromkeys(part, file)
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def child(family: Path, names: Sequence[str], weights: Sequence[float], out: Path | None, discard: bool) -> None:
    """Ours, in this process: points to `out`, into one model in memory, or nowhere."""
    base = Checkpoint(family / "base")
    specialists = {name: Checkpoint(family / name) for name in SPECIALISTS}
    state = {}
    if out is None and not discard:
        state = {name: torch.empty(info.shape, dtype=info.dtype) for name, info in base.table.items()}
    points = []
    for name in names:
        keys = compose_job("merge", [f"merge={name}"]).cfg.merge
        for weight in weights:
            keys.weight = weight
            sink: Sink = ToDirectory(out / f"{name}-{weight}", direct=True) if out else ToModel(state)
            points.append(MergeRequest(build(keys), ToNowhere() if discard else sink))
    for outcome in merge_grid(base, specialists, points):
        if outcome.error:
            raise outcome.error


def measure(name: str, command: Sequence[str], read: int = 0, written: int = 0, cache: Path | None = None) -> Row:
    """Run a command to its end; peak is the resident set of the process itself."""
    environment = os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name} failed:\n{errors}")
    row = Row(name, time.perf_counter() - started, usage.ru_maxrss * 1024, read, written)
    print(f"{name}: {row.seconds:.1f} s, {row.peak / 1e9:.2f} GB", file=sys.stderr, flush=True)
    return row


def ours(label: str, family: Path, names: Sequence[str], weights: Sequence[float], to: str, size: int) -> Row:
    """One of our rows; its output is removed afterward."""
    out = family / "out"
    written = size * len(names) * len(weights)
    command = [sys.executable, "-m", "benchmarks.merge_grid", "--child", str(family), "--methods", *names]
    command += ["--weights", *map(str, weights), "--to", to]
    row = measure(label, command, read=3 * size, written=written if to == str(out) else 0)
    shutil.rmtree(out, ignore_errors=True)
    return row


def typed(label: str, family: Path, names: Sequence[str], weights: Sequence[float], size: int, first: bool) -> Row:
    """`merge.py` as a user types it, with all that it records; on the first use, with an empty cache."""
    out, cache = family / "out", family / "cache"
    command = [sys.executable, "merge.py", "-m", f"merge={','.join(names)}", f"base={family / 'base'}"]
    command += [f"merge.weight={','.join(map(str, weights))}", f"output_root={out}"]
    command += [f"specialists.{name}={family / name}" for name in SPECIALISTS]
    written = size * len(names) * len(weights)
    row = measure(label, command, read=3 * size, written=written, cache=cache if first else None)
    shutil.rmtree(out)
    shutil.rmtree(cache, ignore_errors=True)
    return row


def mergekit(family: Path, method: str, size: int) -> Row:
    """One point by `mergekit-yaml`, in the stored dtype, as the study did it."""
    own = {"linear": {}, "dare": {"density": 0.5}, "ties": {"density": 0.5}, "della": {"density": 0.5, "epsilon": 0.1}}
    models = [
        {"model": str(family / name), "parameters": {"weight": weight} | own[method]}
        for name, weight in zip(SPECIALISTS, (0.3, 0.7), strict=True)
    ]
    content = {"merge_method": {"dare": "dare_linear"}.get(method, method), "models": models, "dtype": "bfloat16"}
    if method != "linear":
        content["base_model"] = str(family / "base")
    (family / "mergekit.yaml").write_text(yaml.safe_dump(content))
    script, out = Path(sys.executable).with_name("mergekit-yaml"), family / "out"
    command = [str(script), str(family / "mergekit.yaml"), str(out), "--no-copy-tokenizer", "--quiet"]
    row = measure(f"mergekit, {method}", command, read=3 * size, written=size)
    shutil.rmtree(out)
    return row


def plain_copy(family: Path, copies: int) -> Row:
    """Copy the weights of the base `copies` times and flush."""
    source, out = family / "base" / "model.safetensors", family / "out"
    out.mkdir()
    copy = "import os, shutil, sys\nfor i in range(int(sys.argv[3])):\n    place = f'{sys.argv[2]}/{i}'\n"
    copy += "    shutil.copyfile(sys.argv[1], place)\n    os.fsync(os.open(place, os.O_RDWR))\n"
    command = [sys.executable, "-c", copy, str(source), str(out), str(copies)]
    size = source.stat().st_size
    row = measure(f"plain copy, {copies}", command, read=copies * size, written=copies * size)
    shutil.rmtree(out)
    return row


def read_bandwidth(family: Path) -> float:
    """Bytes per second from the page cache with one thread."""
    memory = memoryview(bytearray(1 << 24))
    total, started = 0, time.perf_counter()
    with (family / "base" / "model.safetensors").open("rb", buffering=0) as file:
        while count := file.readinto(memory):
            total += count
    return total / (time.perf_counter() - started)


def run(work: Path, layers: int, seven_b: bool) -> None:
    """Measure everything and print the tables."""
    family, deep = work / f"qwen-{layers}", work / f"qwen-{2 * layers}"
    for place, depth in ((family, layers), (deep, 2 * layers)):  # in a child: our peak memory would be its floor
        subprocess.run(
            [sys.executable, "-m", "benchmarks.merge_grid", "--make", place, "--layers", str(depth)], check=True
        )
    size = sum(info.nbytes for info in table(layers, **SMALL).values())
    grid = ("ties", "dare", "della")
    theirs = {name: mergekit(family, name, size) for name in ("linear", *grid)}
    first = [typed(f"one {name} point, first use", family, [name], [0.3], size, True) for name in ("linear", *grid)]
    rows = [typed("27 points, written, first use", family, grid, GRID, size, True), *first]
    typed("kernels compiled and parents hashed", family, ("linear", *grid), [0.3], size, False)
    rows.append(typed("27 points, written", family, grid, GRID, size, False))
    rows += [typed(f"one {name} point", family, [name], [0.3], size, False) for name in ("linear", *grid)]
    rows.append(ours("27 points, copied into a model in memory", family, grid, GRID, "model", size))
    copy = plain_copy(family, 27)
    rows.append(ours(f"27 points, {2 * layers} layers, merged and dropped", deep, grid, GRID, "nowhere", 2 * size))
    rows.append(ours(f"27 points, {layers} layers, merged and dropped", family, grid, GRID, "nowhere", size))
    shutil.rmtree(deep)
    if seven_b:
        make_sparse_family(work / "7b", 28)
        large = sum(info.nbytes for info in table(28, **LARGE).values())
        rows.append(ours("7B-shaped, one TIES point, dropped", work / "7b", ["ties"], [0.3], "nowhere", large))
        shutil.rmtree(work / "7b")
    report(theirs, rows, copy, read_bandwidth(family), size)


def report(theirs: dict[str, Row], rows: Sequence[Row], copy: Row, reading: float, size: int) -> None:
    """Print what BENCHMARKS.md shows."""
    writing = copy.written / copy.seconds
    whole_grid = 9 * sum(theirs[name].seconds for name in ("ties", "dare", "della"))
    singles = {f"one {name} point": row.seconds for name, row in theirs.items()}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "numba", "mergekit")))
    print(
        f"checkpoint {size / 1e9:.2f} GB; page cache {reading / 1e9:.1f} GB/s, disk {writing / 1e9:.2f} GB/s written\n"
    )
    print("| mergekit-yaml | seconds | peak GB |\n|---|---|---|")
    for name, row in theirs.items():
        print(f"| {name} | {row.seconds:.1f} | {row.peak / 1e9:.2f} |")
    print(f"| the grid of 27: nine of each | {whole_grid:.0f} | |\n")
    print(
        "| ours | seconds | against mergekit | peak GB | over the limit of reading and writing |\n|---|---|---|---|---|"
    )
    for row in (*rows, copy):
        peer = singles.get(row.name.removesuffix(", first use"), whole_grid if row.name.startswith("27") else None)
        peer = None if "layers" in row.name and row.read > 3 * size else peer  # of a deeper network
        ratio = f"{peer / row.seconds:.1f}x" if peer else ""
        limit = row.read / reading + row.written / writing
        print(f"| {row.name} | {row.seconds:.1f} | {ratio} | {row.peak / 1e9:.2f} | {row.seconds / limit:.1f}x |")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="directory for checkpoints, made if absent")
    parser.add_argument("--layers", type=int, default=17, help="17: 0.39 billion parameters")
    parser.add_argument("--seven-b", action="store_true", help="also a 7B-shaped family of sparse files")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--methods", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--weights", nargs="+", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        out = None if arguments.to in ("model", "nowhere") else Path(arguments.to)
        child(arguments.child, arguments.methods, arguments.weights, out, arguments.to == "nowhere")
    elif arguments.make:
        make_family(arguments.make, arguments.layers)
    elif arguments.work:
        run(arguments.work, arguments.layers, arguments.seven_b)
    else:
        parser.error("--work DIR is needed")


if __name__ == "__main__":
    main()
