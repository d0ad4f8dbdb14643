"""Settings of a training run: the nodes of conf/optimizer and conf/trainer, and those that the stage fills in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, Strict

from src.data.budget import Budget
from src.data.mixture import MixOptions
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@checked_dataclass("optimizer")
class OptimizerOptions:
    """AdamW with a cosine schedule: the node of conf/optimizer. Defaults are Hugging Face's, as in the study.

    Args:
        lr: Peak learning rate.
        betas: Decay of the first and second moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay, of matrices only.
        clip_norm: Maximum gradient norm; 0 does not clip.
        warmup: Fraction of all steps over which the rate grows linearly from 0; it then falls to 0 as a cosine.
        kind: "adamw"; "adamw8bit" keeps its moments in 8 bits (arXiv 2110.02861); "paged_adamw8bit" also lets the
            GPU swap them to host memory.
    """

    lr: Positive
    betas: Annotated[tuple[Fraction, Fraction], Strict(False)] = (0.9, 0.999)  # YAML has lists alone
    eps: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    warmup: Fraction = 0.03
    kind: Literal["adamw", "adamw8bit", "paged_adamw8bit"] = "adamw"


@checked_dataclass("trainer")
class TrainerOptions:
    """Devices and precision of a run: the node of conf/trainer.

    Args:
        accelerator: "cpu" or "gpu".
        precision: "32-true", or "bf16-mixed" (float32 master weights); "auto": bf16-mixed on a GPU.
        devices: Processes of this node, one per GPU; "auto": all GPUs, or the processes that torchrun or Slurm started.
        nodes: Nodes; "auto": those of torchrun or Slurm, else 1.
        mesh: "full" divides the weights over all processes, "hybrid" over those of a node, each node with a copy, so
            that only gradients pass between nodes; "auto": hybrid on several nodes if it fits.
        reduce: When gradients are summed over processes: after "every" micro-batch, or after the "last" one of a step,
            which takes 4 more bytes per trained weight; "auto": last if it fits.
    """

    accelerator: Literal["cpu", "gpu"] = "cpu"
    precision: Literal["32-true", "bf16-mixed", "auto"] = "auto"
    devices: Count | Literal["auto"] = "auto"
    nodes: Count | Literal["auto"] = "auto"
    mesh: Literal["full", "hybrid", "auto"] = "auto"
    reduce: Literal["every", "last", "auto"] = "auto"

    @property
    def resolved_precision(self) -> str:
        """`precision` with "auto" decided."""
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if self.accelerator == "gpu" else "32-true"

    @property
    def half(self) -> bool:
        """True if matrices are multiplied in half precision."""
        return self.resolved_precision != "32-true"


@checked_dataclass("strategy")
class BatchOptions:
    """Amount of training, and its division into steps and micro-batches.

    Args:
        budget: Size of a step and length of the run.
        micro_batch: Lines of one forward pass: rows, or packs of `max_length` tokens.
        max_length: Longest row in tokens.
        packing: Whether rows share a line.
    """

    budget: Budget
    micro_batch: Count
    max_length: Count
    packing: bool = False


@checked_dataclass("checkpoint")
class CheckpointOptions:
    """Times of validation and of saving checkpoints: the node `checkpoint` of conf/train.yaml.

    Args:
        every_steps: Optimizer steps between saves; None: not by steps.
        every_seconds: Least number of seconds between saves; None: not by time.
        max_share: Largest share of the time that saves by time may take: a save of 60 seconds at 0.05 is followed by 20
            minutes without one.
        keep: Number of newest checkpoints kept.
        validate_every: Steps between validations; None: only after the last step.
        select: "last" returns the weights of the last step, "best" those with the lowest validation loss: on the
            trained task, or over all tasks of a mixture.
        patience: With "best", stop after so many validations in a row without a lower loss; None: never.
        min_delta: A loss counts as lower only if it is below the lowest one by more than this.
    """

    every_steps: Count | None = None
    every_seconds: Annotated[float, Field(ge=0)] | None = 60.0
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    keep: Count = 2
    validate_every: Count | None = None
    select: Literal["last", "best"] = "last"
    patience: Count | None = None
    min_delta: Annotated[float, Field(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if self.select == "best" and self.validate_every is None:
            raise UserError(
                "checkpoint.select=best needs checkpoint.validate_every: after a single validation, at the end of the "
                "run, the last weights are the best"
            )
        if self.patience is not None and self.select != "best":
            raise UserError(
                f"checkpoint.patience={self.patience} stops after the best weights, which checkpoint.select="
                f"{self.select} would not return; set checkpoint.select=best"
            )
        if self.min_delta and self.patience is None:
            raise UserError(f"checkpoint.min_delta={self.min_delta} needs checkpoint.patience, which is null")


@dataclass(frozen=True)
class FitOptions:
    """All settings of a training run except its model and rows.

    Args:
        optimizer: AdamW and its schedule.
        batches: Sizes, lengths, and how long to train.
        mix: Proportions of the tasks.
        trainer: Devices and precision.
        checkpoints: When to validate and save, and which weights to return.
        seed: Of the order of rows and of dropout.
    """

    optimizer: OptimizerOptions
    batches: BatchOptions
    mix: MixOptions = MixOptions()  # noqa: RUF009 - frozen
    trainer: TrainerOptions = TrainerOptions()  # noqa: RUF009
    checkpoints: CheckpointOptions = CheckpointOptions()  # noqa: RUF009
    seed: int = 0


def require_positive(value: int, key: str) -> None:
    """Check that a count is positive.

    Raises:
        UserError: It is below 1.
    """
    if value < 1:
        raise UserError(f"{key} must be at least 1, got {value}")
