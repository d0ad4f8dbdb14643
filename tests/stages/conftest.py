"""A pocket world in miniature, made once by the very stages that the scripts call."""

from pathlib import Path

import pytest

from src.stages.job import compose_job
from src.stages.train.run import train

TINY = [
    *(f"strategy.architecture.{key}={value}" for key, value in {"layers": 2, "width": 32, "heads": 2}.items()),
    *("strategy.architecture.key_value_heads=1", "strategy.architecture.mlp_width=64", "+strategy.source.renderings=1"),
]
SHORT = [
    *("strategy.steps=30", "strategy.micro_batch=4", "strategy.batch_size=4", "strategy.learning_rate=0.01"),
    "data.limit=300",  # all validation rows; of the training rows, most would be tokenized and never trained on
]


def train_tiny(root: Path, name: str, *overrides: str) -> Path:
    """Train a few steps into the standard place `root/train/<name>`."""
    places = [f"output_root={root}", f"output={root}/train/{name}"]
    return train(compose_job("train", [*SHORT, *overrides, *places]))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The output root with base, both specialists and the mixture in their standard places."""
    root = tmp_path_factory.mktemp("runs")
    train_tiny(root, "pocket-base-s0", "strategy=base", *TINY)
    for task in ("codegen", "codesum"):
        train_tiny(root, f"pocket-specialist-{task}-s0", "strategy=specialist", f"task={task}")
    train_tiny(root, "pocket-mix-s0", "strategy=mix")
    return root
