"""Expected cost of the runs of a study, before any of them exists: for the order of the steps and for a dry run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from src.stages.job import Job

POCKET_ROWS = 9600  # training rows of a pocket task
POCKET_ROW_TOKENS = 100
# A step of 8 rows on one core takes 22, 58 and 155 ms for pocket models of 0.28, 0.91 and 3.2 million parameters.
POCKET_STEP_SECONDS, POCKET_PARAMETERS, POCKET_POWER = 0.058, 0.91e6, 0.8
# A GPU: 40 % of the 989 TFLOP/s of an H100 in bfloat16, at 6 operations per parameter and token.
DEVICE_FLOPS = 0.4 * 989e12
POCKET_EVALUATION_SECONDS = 2.4  # 300 items
EVALUATION_SECONDS_PER_PARAMETER = 4e-7  # 10 minutes for 1.5B: only for the order of steps
MERGE_SECONDS_PER_PARAMETER = 2e-8


@dataclass(frozen=True)
class TrainingCost:
    """Expected cost of one training run.

    Attributes:
        tokens: Prompts included; None: it depends on rows that are not known here.
        seconds: On one core for the pocket model, on one H100 for others; 0 if the tokens are unknown.
        bytes: Of the exported checkpoint.
    """

    tokens: float | None
    seconds: float
    bytes: float


def training_cost(job: Job, base: Job) -> TrainingCost:
    """Estimate a training run.

    Args:
        job: The run.
        base: The run of its base, which knows the size of a model that is pretrained here.
    """
    cfg = job.cfg
    weights = parameters(base.cfg)
    size = weights * (4 if cfg.model.dtype == "float32" else 2)
    if cfg.strategy.name == "base" and cfg.model.path is not None:
        return TrainingCost(0, 0, 0)
    if cfg.model.path is None:
        steps = _pocket_steps(cfg)
        seconds = steps * POCKET_STEP_SECONDS * (weights / POCKET_PARAMETERS) ** POCKET_POWER
        return TrainingCost(steps * cfg.strategy.batch_size * POCKET_ROW_TOKENS, seconds, size)
    tokens = _tokens(cfg)
    return TrainingCost(tokens, 6 * weights * (tokens or 0) / DEVICE_FLOPS, size)


def evaluation_seconds(base: Job) -> float:
    """Expected duration of one evaluation."""
    if base.cfg.model.path is None:
        return POCKET_EVALUATION_SECONDS
    return EVALUATION_SECONDS_PER_PARAMETER * parameters(base.cfg)


def merge_seconds(base: Job, points: int) -> float:
    """Expected duration of one pass that merges `points` points."""
    return 1.0 + MERGE_SECONDS_PER_PARAMETER * parameters(base.cfg) * points


def parameters(cfg: DictConfig) -> float:
    """Number of parameters of the model of a config, from its architecture alone."""
    if cfg.model.path is None:
        own = cfg.strategy.architecture
        mlp = own.mlp_width or own.width * 7 / 3
        return _count(own.vocabulary, own.width, own.layers, mlp, own.key_value_heads / own.heads, tied=True)
    own = cfg.model.architecture
    heads = own.num_attention_heads
    shared = own.get("num_key_value_heads", heads) / heads
    sizes = own.vocab_size, own.hidden_size, own.num_hidden_layers, own.intermediate_size
    return _count(*sizes, shared, tied=bool(own.get("tie_word_embeddings", False)))


def _count(vocabulary: float, width: float, layers: float, mlp: float, shared: float, tied: bool) -> float:
    """Embedding and head, and per layer the attention with `shared` key and value heads per head, and a gated MLP."""
    layer = 2 * width**2 * (1 + shared) + 3 * width * mlp
    return vocabulary * width * (1 if tied else 2) + layers * layer


def _pocket_steps(cfg: DictConfig) -> float:
    if cfg.strategy.steps is not None:
        return float(cfg.strategy.steps)
    tasks = len(cfg.tasks) if cfg.strategy.name == "mix" else 1
    rows = POCKET_ROWS if cfg.data.limit is None else cfg.data.limit
    return float(cfg.strategy.epochs * rows * cfg.data.fraction * tasks / cfg.strategy.batch_size)


def _tokens(cfg: DictConfig) -> float | None:
    strategy = cfg.strategy
    if strategy.steps is not None:
        per_step = strategy.batch_tokens or strategy.batch_size * strategy.max_length
        return float(strategy.steps * per_step)
    if strategy.tokens is not None:
        return float(strategy.tokens)
    tasks = [cfg.tasks[name] for name in ([cfg.task] if strategy.name == "specialist" else cfg.tasks)]
    known: list[Any] = [task.get("epoch_tokens") for task in tasks]
    return None if None in known else float(strategy.epochs * sum(known) * cfg.data.fraction)
