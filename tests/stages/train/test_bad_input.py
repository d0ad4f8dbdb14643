"""Each mistake of a training command: one clear line, exit code 2, nothing half-written."""

import gzip
import json
import shutil
import subprocess
import sys

import pytest
import torch

from src.lit_modules.loss import token_losses
from tests.stages.command import TRAIN, refused, run_train
from tests.stages.conftest import SHORT

GIB = 2**30


@pytest.fixture
def train_line(monkeypatch, capsys, tmp_path, world):
    """Runs a mixture of the tiny world with further overrides, and gives its one line of complaint."""

    def line(*overrides):
        return refused(
            monkeypatch, capsys, "strategy=mix", *SHORT, f"output_root={world}", f"output={tmp_path}/out", *overrides
        )

    yield line
    assert not (tmp_path / "out").exists()


@pytest.fixture
def gpus(monkeypatch):
    """Pretends to a number of GPUs of a size."""

    def pretend(count, gib=80):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr("src.stages.train.network.device_memory", lambda gpu: gib * GIB)

    return pretend


def test_no_gpu(monkeypatch, capsys, tmp_path, gpus):
    gpus(0)
    line = refused(monkeypatch, capsys, "model=qwen7b", "strategy=mix", "model.init=random", f"output_root={tmp_path}")
    assert "trains on a GPU, but none is visible" in line
    assert "debug=shrink" in line
    assert list(tmp_path.iterdir()) == []  # no seven billion random weights were drawn first


def test_too_few_gpus(monkeypatch, capsys, tmp_path, gpus):
    gpus(2)
    overrides = ["model=qwen7b", "strategy=mix", "trainer=fsdp", "trainer.devices=4", f"output_root={tmp_path}"]
    line = refused(monkeypatch, capsys, *overrides)
    assert "trainer.devices=4: this node has 2 GPUs; set trainer.devices=2 or auto" in line


def test_too_little_memory_says_what_would_fit(monkeypatch, capsys, tmp_path, gpus):
    gpus(1)
    line = refused(monkeypatch, capsys, "model=qwen7b", "strategy=mix", f"output_root={tmp_path}")
    assert "GiB of GPU memory, but only 80 GiB" in line
    assert "2 of them with trainer=fsdp (65 GiB)" in line
    assert "optimizer=paged_adamw8bit (66 GiB)" in line
    assert "model.adapter=lora" in line
    gpus(1, gib=120)
    line = refused(monkeypatch, capsys, "model=qwen7b", "strategy=mix", f"output_root={tmp_path}")
    assert "optimizer=adamw8bit" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.adapter=qlora"], "model.adapter=qlora needs a single GPU; on several, set model.adapter=lora"),
        (["optimizer=adamw8bit"], "optimizer=adamw8bit needs a single GPU; on 2, set optimizer=adamw"),
    ],
)
def test_what_needs_one_gpu(monkeypatch, capsys, tmp_path, gpus, overrides, words):
    gpus(2)
    line = refused(monkeypatch, capsys, "model=qwen1.5b", "strategy=mix", f"output_root={tmp_path}", *overrides)
    assert words in line


ROW = {"prompt": "p", "solution": "s"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", "", "x.jsonl holds no rows; expected one JSON object per line"),
        ("x.jsonl", json.dumps(ROW) + "\n{oops\n", "x.jsonl, line 2: not JSON"),
        ("x.jsonl", json.dumps(ROW) + '\n{"prompt": "p"}\n', "x.jsonl, row 2: no field 'solution'; available: prompt"),
        ("x.jsonl", '{"prompt": "p", "solution": 3}\n', "x.jsonl, row 1, field 'solution': expected text, got int 3"),
        ("x.jsonl.gz", "plain", "x.jsonl.gz is damaged, or its contents do not match its name: Not a gzipped file"),
        ("x.parquet", "plain", "x.parquet is not a Parquet file"),
    ],
)
def test_data_files(train_line, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    source = (
        f"_target_: src.data.sources.RecordSource, task: codegen, data: {tmp_path}/{name}, user_prompt: '{{prompt}}', "
        "answer: solution"
    )
    assert words in train_line(f"++tasks.codegen.sources.pocket.pocket={{{source}}}")


def test_a_gzip_file_that_was_cut_short(train_line, tmp_path):
    whole = gzip.compress(b"".join(json.dumps({**ROW, "n": n}).encode() + b"\n" for n in range(5000)))
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    source = f"_target_: src.data.sources.RecordSource, task: codegen, data: {tmp_path}/cut.jsonl.gz"
    line = train_line(
        f"++tasks.codegen.sources.pocket.pocket={{{source}, user_prompt: '{{prompt}}', answer: solution}}"
    )
    assert "cut.jsonl.gz is damaged, or its contents do not match its name: Compressed file ended before" in line


def test_no_chat_template(train_line, tmp_path, world):
    base = tmp_path / "base"
    shutil.copytree(world / "train" / "pocket-base-s0", base, ignore=shutil.ignore_patterns("run.json"))
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    line = train_line(f"base={base}")
    assert "has no chat template" in line
    assert "set model.chat_template, or use an instruct checkpoint" in line


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy.max_length=512"], "strategy.max_length=512 is longer than the context of pocket"),
        (["model.attention=flash"], "unknown model.attention 'flash'. Available: auto, eager, flash_attention_2"),
        (["model.attention=flash_attention_2"], "model.attention=flash_attention_2 needs a CUDA GPU"),
        (["model.attention=flash_attention_3"], "model.attention=flash_attention_3 needs a CUDA GPU"),
        (["model.attention=flex"], "model.attention=flex needs a CUDA GPU"),
        (["+model.liger=true"], "model.liger=true: liger-kernel is not installed: pip install liger-kernel"),
        (["trainer.precision=16-mixed"], "unknown trainer.precision '16-mixed'"),
        (["checkpoint.select=best"], "checkpoint.select=best needs checkpoint.validate_every"),
        (
            ["callbacks=[default,weight_delta]", "callbacks.weight_delta.specialists={codegen: /nowhere}"],
            "callbacks.weight_delta.specialists.codegen=/nowhere",
        ),
        (
            ["callbacks=weight_delta", "callbacks.weight_delta.every_steps=0"],
            "callbacks.weight_delta.every_steps must be at least 1, got 0",
        ),
        (["strategy=specialist", "callbacks=gradient_cosine"], "callbacks.gradient_cosine compares tasks"),
        (["+callbacks.mine._target_=torch.Generator"], "callbacks.mine: expected a lightning.pytorch.Callback"),
        (["+logger.mine._target_=torch.Generator"], "logger.mine: expected a lightning.pytorch.loggers.Logger"),
        (["strategy=specialist", "mix.ratio=0.5"], "mix.* are proportions of tasks"),
    ],
)
def test_settings(train_line, overrides, words):
    assert words in train_line(*overrides)


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(monkeypatch, capsys, tmp_path, world):
    overrides = ["strategy=mix", *SHORT, f"output_root={world}", f"output={tmp_path}/out", "checkpoint.every_steps=1"]
    line = refused(monkeypatch, capsys, *overrides, "strategy.learning_rate=1e30")
    assert "gradient norm" in line
    assert "at step 3; the last checkpoint is kept, " in line
    named = line.partition("rows of the batch: ")[2].split(", ")
    assert len(named) == 4
    assert {name.partition("/")[0] for name in named} <= {"codegen", "codesum"}
    kept = sorted((tmp_path / ".out.partial" / ".scratch" / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["step-00000001.ckpt", "step-00000002.ckpt"]
    assert str(kept[-1]) in line
    weights = torch.load(kept[-1], weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert not (tmp_path / "out").exists()


def test_out_of_gpu_memory_is_one_line_and_smaller_batches_continue(monkeypatch, capsys, tmp_path, world):
    place = tmp_path / "out"
    overrides = ["strategy=mix", *SHORT[1:], "strategy.steps=6", f"output_root={world}", f"output={place}"]
    overrides += ["checkpoint.every_steps=1"]
    calls = []

    def full(network, micro):
        calls.append(1)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 MiB.\nMore.")
        return token_losses(network, micro)

    monkeypatch.setattr("src.lit_modules.sft.token_losses", full)
    line = refused(monkeypatch, capsys, *overrides)
    assert "process 0: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 MiB." in line
    assert "a lower strategy.micro_batch, model.gradient_checkpointing=true or more GPUs" in line
    monkeypatch.undo()
    assert run_train(monkeypatch, capsys, *overrides, "strategy.micro_batch=1") == (0, [])
    rows = [json.loads(row) for row in (place / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 7))


def test_weights_that_are_no_numbers_are_not_saved(monkeypatch, capsys, tmp_path, world):
    overrides = ["strategy=mix", *SHORT, f"output_root={world}", f"output={tmp_path}/out", "checkpoint.every_steps=1"]
    line = refused(monkeypatch, capsys, *overrides, "strategy.learning_rate=1e39")
    assert "weights contain NaN or Inf after step 2 and are not saved; earlier checkpoints are kept" in line
    kept = (tmp_path / ".out.partial" / ".scratch" / "checkpoints").iterdir()
    assert [path.name for path in kept] == ["step-00000001.ckpt"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_with_wandb_leaves_one_offline_run_a_job(monkeypatch, capsys, tmp_path, world):
    from tests.lit_modules.offline_wandb import offline_runs

    monkeypatch.setenv("WANDB_MODE", "offline")
    shutil.copytree(world / "train" / "pocket-base-s0", tmp_path / "train" / "pocket-base-s0")
    overrides = [*SHORT[1:], f"output_root={tmp_path}", "logger=[csv,wandb]", "checkpoint.validate_every=2"]
    code, lines = run_train(monkeypatch, capsys, "-m", "strategy=mix", "strategy.steps=2,3", *overrides)
    assert (code, lines) == (0, [])
    runs = offline_runs(tmp_path / "wandb")
    assert [len(run.history) for run in runs] == [2, 3]
    assert [run.exit_code for run in runs] == [0, 0]
    for run in runs:
        record = json.loads((tmp_path / "train" / run.name / "run.json").read_text())
        assert run.config["strategy"]["steps"] == record["config"]["strategy"]["steps"] == len(run.history)
        assert run.history[2]["val/all/loss"] > 0
        names = ("train/codegen/loss", "train/gradient_norm", "throughput/tokens_per_second")
        assert set(names) <= set(run.history[1])
        assert (tmp_path / "train" / run.name / "metrics.csv").is_file()
        assert run.summary["selected_step"] == len(run.history)


@pytest.mark.slow
def test_two_processes_complain_once(tmp_path, world):
    overrides = [*SHORT, f"output_root={world}", f"output={tmp_path}/out", "trainer.devices=2"]
    command = [sys.executable, "train.py", "strategy=mix", *overrides, "strategy.learning_rate=1e30"]
    done = subprocess.run(command, cwd=TRAIN.parent, capture_output=True, text=True, check=False)
    [line] = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert "loss nan" in line
    assert done.returncode == 2
