"""The settings of a training run: the nodes of conf/optimizer and conf/trainer, and what the stage fills in itself."""

from __future__ import annotations

from dataclasses import dataclass

from src.utils.errors import UserError, unknown_choice

ACCELERATORS = ("cpu", "gpu", "auto")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
SELECTIONS = ("last", "best")


@dataclass(frozen=True)
class OptimizerOptions:
    """AdamW with a cosine schedule: the node of conf/optimizer. Defaults are Hugging Face's, as in the study.

    Args:
        lr: Peak learning rate.
        betas: Decay of the first and second moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay, of matrices only.
        clip_norm: Largest gradient norm; 0 does not clip.
        warmup: Share of all steps over which the rate grows linearly from 0; it then falls to 0 as a cosine.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    warmup: float = 0.03

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"optimizer.lr={self.lr}: expected a number above 0")
        if not 0 <= self.warmup < 1:
            raise UserError(f"optimizer.warmup={self.warmup}: expected a share of the steps, 0 <= warmup < 1")


@dataclass(frozen=True)
class TrainerOptions:
    """Where and in which precision training runs: the node of conf/trainer.

    Args:
        accelerator: "cpu", "gpu" or "auto".
        precision: "32-true", or "bf16-mixed" / "16-mixed" (float32 master weights under autocast).
    """

    accelerator: str = "cpu"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise unknown_choice("trainer.accelerator", self.accelerator, list(ACCELERATORS))
        if self.precision not in PRECISIONS:
            raise unknown_choice("trainer.precision", self.precision, list(PRECISIONS))


@dataclass(frozen=True)
class BatchOptions:
    """How much is trained on, and in which portions.

    Args:
        micro_batch: Rows of one forward pass.
        accumulation: Forward passes of one rank in an optimiser step.
        max_length: Longest row in tokens.
        steps: Optimiser steps; give this or `epochs`.
        epochs: Passes over all rows; give this or `steps`.
        over_length: "truncate" or "drop" rows above `max_length`.
    """

    micro_batch: int
    accumulation: int
    max_length: int
    steps: int | None = None
    epochs: float | None = None
    over_length: str = "truncate"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise UserError(f"give steps or epochs, not both or none (got steps={self.steps}, epochs={self.epochs})")
        for name in ("micro_batch", "accumulation", "max_length", "steps", "epochs"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name}={value}: expected a number above 0")


@dataclass(frozen=True)
class CheckpointOptions:
    """When the run is saved for a restart.

    Args:
        every_steps: Save after so many optimiser steps; None: not by steps.
        every_seconds: Save when so many seconds have passed since the last time; None: not by time.
        keep: How many of the newest are kept.
        select: "last" returns the weights of the last step, "best" those of the lowest validation loss.
    """

    every_steps: int | None = None
    every_seconds: float | None = 60.0
    keep: int = 2
    select: str = "last"

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise unknown_choice("checkpoint.select", self.select, list(SELECTIONS))
        if self.keep < 1:
            raise UserError(f"checkpoint.keep={self.keep}: expected at least 1")
