"""Callbacks and loggers of a training command: those of conf/, several in one line, and one's own from a YAML file."""

import json
from importlib.util import find_spec

import pytest

from src.utils.jsonl import read_jsonl
from tests.stages.command import refused, run_train
from tests.stages.conftest import SHORT

MINE = '''
"""A callback and a logger that the framework knows nothing of."""

import json
from importlib.util import find_spec
from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import Logger


class EmbeddingNorm(L.Callback):
    def __init__(self, every_steps):
        self.every_steps = every_steps

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step % self.every_steps == 0:
            pl_module.log("mine/norm", pl_module.network.get_input_embeddings().weight.norm())
            assert set(trainer.datamodule.rows.train) == {"codegen", "codesum"}
            assert "model.embed_tokens.weight" in pl_module.base.names


class Lines(Logger):
    name, version = "lines", ""

    def __init__(self, path):
        super().__init__()
        self.path = Path(path)

    def log_metrics(self, metrics, step=None):
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\\n")

    def log_hyperparams(self, params, *args, **kwargs):
        self.path.write_text(json.dumps({"config": sorted(params)}) + "\\n")
'''
CALLBACK = "mine:\n  _target_: own_training.EmbeddingNorm\n  every_steps: 2\n"
LOGGER = "lines:\n  _target_: own_training.Lines\n  path: ${output_root}/${run.name}.jsonl\n"


@pytest.fixture
def mix(monkeypatch, capsys, tmp_path, world):
    """Runs four steps of a mixture and gives its directory."""

    def run(*overrides):
        options = ["strategy=mix", *SHORT[1:], "strategy.steps=4", f"base={world}/train/pocket-base-s0"]
        code, lines = run_train(monkeypatch, capsys, *options, f"output_root={tmp_path}", f"output={tmp_path}/out",
                                *overrides)  # fmt: skip
        assert (code, lines) == (0, [])
        return tmp_path / "out"

    return run


def test_a_callback_and_a_logger_of_ones_own_are_a_class_and_a_yaml_file(mix, monkeypatch, tmp_path):
    own = tmp_path / "own"
    for group, name, text in (("callbacks", "mine", CALLBACK), ("logger", "lines", LOGGER)):
        (own / "conf" / group).mkdir(parents=True)
        (own / "conf" / group / f"{name}.yaml").write_text(text)
    (own / "own_training.py").write_text(MINE)
    monkeypatch.syspath_prepend(own)
    place = mix(
        f"hydra.searchpath=[file://{own}/conf]", "callbacks=[default,mine]", "callbacks.mine.every_steps=3",
        "logger=[csv,lines]",
    )  # fmt: skip
    rows = read_jsonl(place / "metrics.jsonl")
    norms = {row["step"]: row["mine/norm"] for row in rows if "mine/norm" in row}
    assert min(norms) == 2  # after three steps: Lightning's `log` counts from 0
    assert min(norms.values()) > 0
    first, *lines, summary = read_jsonl(tmp_path / f"{place.name}.jsonl")
    assert "strategy" in first["config"]
    assert lines == rows
    record = json.loads((place / "run.json").read_text())
    assert summary["cost/seconds"] == record["cost"]["seconds"]
    assert record["config"]["callbacks"]["mine"] == {"_target_": "own_training.EmbeddingNorm", "every_steps": 3}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_several_callbacks_and_loggers_of_conf_in_one_line(mix, tmp_path, world):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    specialist = world / "train" / "pocket-specialist-codegen-s0"
    place = mix(
        "callbacks=[default,weight_delta,gradient_cosine]", "callbacks.weight_delta.every_steps=2",
        f"callbacks.weight_delta.specialists={{codegen: {specialist}}}", "callbacks.gradient_cosine.every_steps=2",
        "logger=[csv,tensorboard]",
    )  # fmt: skip
    rows = read_jsonl(place / "metrics.jsonl")
    steps = {
        name: [row["step"] for row in rows if name in row]
        for name in (
            *("train/loss", "train/codegen/perplexity", "throughput/tokens_per_second", "val/codesum/accuracy"),
            *("weights/l2/embed_tokens", "weights/cosine_codegen/layers.1", "gradients/cosine_codegen_codesum"),
        )
    }
    every_step, every_second = [1, 2, 3, 4], [2, 4]
    assert steps == {
        "train/loss": every_step,
        "train/codegen/perplexity": [1, 3, 4],  # the second step has no row of codegen
        "throughput/tokens_per_second": every_step,
        "val/codesum/accuracy": [4],
        "weights/l2/embed_tokens": every_second,
        "weights/cosine_codegen/layers.1": every_second,
        "gradients/cosine_codegen_codesum": [0, 2],
    }
    assert (place / "metrics.csv").read_text().count("\n") == len(rows) + 1
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / place.name))
    events.Reload()
    for name, expected in steps.items():
        assert [event.step for event in events.Scalars(name)] == expected, name


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_logger_that_is_not_installed_says_what_to_install(monkeypatch, capsys, tmp_path, world):
    """Before anything is trained."""
    line = refused(monkeypatch, capsys, "strategy=mix", *SHORT, f"output_root={world}", f"output={tmp_path}/out",
                   "logger=[csv,mlflow]")  # fmt: skip
    assert "logger.mlflow" in line
    assert "pip install" in line
