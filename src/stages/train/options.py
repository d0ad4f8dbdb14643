"""The instantiated nodes of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from src.config.types import check_types
from src.data.budget import Budget
from src.data.mixture import MixOptions
from src.data.options import DataOptions
from src.lit_modules.options import BatchOptions, CheckpointOptions, OptimizerOptions, TrainerOptions, WatchOptions
from src.models import ModelSpec
from src.stages.build import build

STRATEGY = {
    **dict.fromkeys(("epochs", "learning_rate"), float | None),
    **dict.fromkeys(("steps", "tokens", "batch_size", "batch_tokens"), int | None),
    **dict.fromkeys(("micro_batch", "max_length"), int),
    "packing": bool,
    "truncation": str,
}


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of a training run beside its model and its rows."""

    optimizer: OptimizerOptions
    batches: BatchOptions
    trainer: TrainerOptions
    checkpoints: CheckpointOptions
    data: DataOptions
    mix: MixOptions
    watch: WatchOptions

    @classmethod
    def of(cls, cfg: DictConfig, model: ModelSpec) -> TrainingOptions:
        """Those of a composed config.

        Raises:
            UserError: One of them is off, or rows are longer than the model's context.
        """
        strategy = {str(key): cfg.strategy[key] for key in STRATEGY}
        check_types(strategy, STRATEGY, "strategy.{}".format)
        model.require_fitting(cfg.strategy.max_length)
        return cls(
            build(cfg.optimizer, lr=cfg.strategy.learning_rate),
            _batches(cfg.strategy),
            build(cfg.trainer),
            build(cfg.checkpoint),
            build(cfg.data),
            build(cfg.mix),
            build(cfg.watch),
        )


def _batches(strategy: DictConfig) -> BatchOptions:
    # what is given last on the command line wins over the recipe: steps over tokens over epochs, tokens over rows
    steps, tokens = strategy.steps, strategy.tokens
    budget = Budget(
        batch_size=None if strategy.batch_tokens is not None else strategy.batch_size,
        batch_tokens=strategy.batch_tokens,
        steps=steps,
        tokens=tokens if steps is None else None,
        epochs=strategy.epochs if steps is None and tokens is None else None,
    )
    return BatchOptions(budget, strategy.micro_batch, strategy.max_length, strategy.packing)
