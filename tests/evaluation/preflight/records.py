"""Records of two fair sides, a mixture and a merge of two specialists, to be changed one value at a time."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from src.utils.files import write_json

BASE = {"config.json": "c0", "model.safetensors": "w0"}
PROMPTS = {"codegen": "{prompt}", "codesum": "Describe:\n{code}"}


def change(record: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with values replaced by their dotted path, with `/` where a name has dots."""
    record = copy.deepcopy(record)
    for path, value in changes.items():
        *parents, last = (name.replace("/", ".") for name in path.split("."))
        node = record
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
    return record


def train(strategy: str, task: str | None = None, **changes: Any) -> dict[str, Any]:
    seen = {name: {"rows": 100, "tokens": 5000} for name in PROMPTS if task in (None, name)}
    record = {
        "stage": "train",
        "state": "finished",
        "config": {
            "strategy": {"name": strategy, "learning_rate": 1e-3, "batch_size": 8, "max_length": 256, "packing": False,
                         "epochs": 2, "steps": None, "tokens": None, "batch_tokens": None},
            "optimizer": {"_target_": "x", "kind": "adamw", "warmup": 0.03},
            "data": {"fraction": 1.0, "limit": None, "decontaminate": True},
            "model": {"data": "pocket", "dtype": "float32"},
            "task": task,
            "tasks": {
                name: {"sources": {"pocket": {"rows": {"user_prompt": prompt}}}} for name, prompt in PROMPTS.items()
            },
            "seed": 0,
        },
        "inputs": {} if strategy == "base" else {"base": BASE},
        "outputs": {"model.safetensors": {"sha256": "w0"}} if strategy == "base" else {},
        "results": {
            "cost": {"steps": 20 * len(seen), "tokens": 5000 * len(seen)},
            "trained_on": seen,
        },
    }  # fmt: skip
    return change(record, changes)


def merge(parents: dict[str, Path], **changes: Any) -> dict[str, Any]:
    recipe = {"_target_": "src.merging.registry.ties", "weights": {"codegen": 0.3, "codesum": 0.7}, "lambda": 1.0,
              "normalize": False}  # fmt: skip
    record = {
        "stage": "merge",
        "state": "finished",
        "config": {},
        "inputs": {"base": BASE},
        "outputs": {},
        "results": {"recipe": recipe, "parents": {name: str(path) for name, path in parents.items()}},
    }
    return change(record, changes)


def evaluate(checkpoint: Path | None, **changes: Any) -> dict[str, Any]:
    benchmarks = {
        "pocket_codegen": {"task": "codegen", "user_prompt": PROMPTS["codegen"], "limit": None,
                           "decoding": {"max_new_tokens": 96, "temperature": 0.0, "stop": ["<end>"]}},
        "pocket_codesum": {"task": "codesum", "user_prompt": PROMPTS["codesum"],
                           "decoding": {"max_new_tokens": 64}},
    }  # fmt: skip
    record = {
        "stage": "evaluate",
        "state": "finished",
        "config": {"split": "test", "benchmarks": benchmarks, "limits": {"memory_mb": 4096},
                   "generator": {"_target_": "hf", "dtype": "auto", "device": "cpu"}, "rules": {}},
        "inputs": {"items": {"pocket_codegen": "i1", "pocket_codesum": "i2"}},
        "outputs": {},
        "results": {"checkpoint": None if checkpoint is None else str(checkpoint), "scores": [],
                    "finish": {"pocket_codegen": {"end": 150}}},
    }  # fmt: skip
    return change(record, changes)


def scores(**values: float) -> list[dict[str, Any]]:
    """Rows of `results.scores`: `codegen=0.5` is pass@1 of its benchmark."""
    metrics = {"codegen": "pass@1", "codesum": "bleu4"}
    return [{"benchmark": f"pocket_{task}", "metric": metrics[task], "value": value} for task, value in values.items()]


CONFIG = {"model_type": "qwen2", "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
          "dtype": "float32", "eos_token_id": 3}  # fmt: skip


MADE = {"cost": {"seconds": 1.0, "device_seconds": 1.0, "bytes": 1.0}, "argv": ["python", "evaluate.py"]}


class World:
    """Run directories of a mixture, two specialists, their merge and the base, each with an evaluation."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.records = {
            "base": train("base"),
            "mix": train("mix"),
            "codegen": train("specialist", "codegen"),
            "codesum": train("specialist", "codesum"),
        }
        self.records["ties"] = merge({name: place / "models" / name for name in ("base", "codegen", "codesum")})
        self.evaluations = {name: evaluate(place / "models" / name) for name in self.records}
        self.configs = {name: dict(CONFIG) for name in self.records}
        self.templates = dict.fromkeys(self.records, "{{ messages }}")

    def change(self, name: str, **changes: Any) -> World:
        """Change the record of a model."""
        self.records[name] = change(self.records[name], changes)
        return self

    def change_evaluation(self, name: str, **changes: Any) -> World:
        self.evaluations[name] = change(self.evaluations[name], changes)
        return self

    def write(self) -> Path:
        """Write everything; returns the directory of the evaluations."""
        for name, record in self.records.items():
            directory = self.place / "models" / name
            directory.mkdir(parents=True)
            write_json(directory / "run.json", record)
            write_json(directory / "config.json", self.configs[name])
            (directory / "chat_template.jinja").write_text(self.templates[name])
        for name, record in self.evaluations.items():
            (self.place / "evaluate" / name).mkdir(parents=True)
            write_json(self.place / "evaluate" / name / "run.json", record | MADE)
        return self.place / "evaluate"
