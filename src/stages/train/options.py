"""Instantiated config nodes of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from src.config.types import check_types
from src.data.budget import Budget
from src.data.options import DataOptions
from src.lit_modules.callbacks.standard import as_callbacks
from src.lit_modules.options import BatchOptions, FitOptions
from src.models import ModelSpec
from src.stages.build import build
from src.stages.trackers import built, named

STRATEGY = {
    **dict.fromkeys(("epochs", "learning_rate"), float | None),
    **dict.fromkeys(("steps", "tokens", "batch_size", "batch_tokens"), int | None),
    **dict.fromkeys(("micro_batch", "max_length"), int),
    "packing": bool,
    "truncation": str,
}


@dataclass(frozen=True)
class TrainingOptions:
    """The config nodes of a training run other than its model and sources.

    Args:
        fit: Settings of the training itself.
        data: Which rows to use, and the cache of their tokens.
        callbacks: Lightning callbacks of conf/callbacks.
    """

    fit: FitOptions
    data: DataOptions
    callbacks: Sequence[Any]

    @classmethod
    def of(cls, cfg: DictConfig, model: ModelSpec, name: str = "train") -> TrainingOptions:
        """Build the nodes of a composed config.

        Args:
            cfg: The config.
            model: The model.
            name: Name of the run, for callbacks that show it.

        Raises:
            UserError: A setting is invalid, or rows are longer than the model's context.
        """
        strategy = {str(key): cfg.strategy[key] for key in STRATEGY}
        check_types(strategy, STRATEGY, "strategy.{}".format)
        model.require_fitting(cfg.strategy.max_length)
        fit = FitOptions(
            build(cfg.optimizer, lr=cfg.strategy.learning_rate),
            _batches(cfg.strategy),
            build(cfg.mix),
            build(cfg.trainer),
            build(cfg.checkpoint),
            cfg.seed,
        )
        return cls(fit, build(cfg.data), as_callbacks(built("callbacks", named(cfg, name=name))))


def _batches(strategy: DictConfig) -> BatchOptions:
    # the more specific setting overrides the recipe's default: steps over tokens over epochs, tokens over rows
    steps, tokens = strategy.steps, strategy.tokens
    budget = Budget(
        batch_size=None if strategy.batch_tokens is not None else strategy.batch_size,
        batch_tokens=strategy.batch_tokens,
        steps=steps,
        tokens=tokens if steps is None else None,
        epochs=strategy.epochs if steps is None and tokens is None else None,
    )
    return BatchOptions(budget, strategy.micro_batch, strategy.max_length, strategy.packing)
