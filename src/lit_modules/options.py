"""Settings of a training run: the nodes of conf/optimizer and conf/trainer, and those that the stage fills in."""

from __future__ import annotations

from dataclasses import dataclass

from src.data.budget import Budget
from src.data.mixture import MixOptions
from src.utils.errors import UserError, unknown_choice

ACCELERATORS = ("cpu", "gpu")
PRECISIONS = ("32-true", "bf16-mixed")
SELECTIONS = ("last", "best")
OPTIMIZERS = ("adamw", "adamw8bit", "paged_adamw8bit")


@dataclass(frozen=True)
class OptimizerOptions:
    """AdamW with a cosine schedule: the node of conf/optimizer. Defaults are Hugging Face's, as in the study.

    Args:
        lr: Peak learning rate.
        betas: Decay of the first and second moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay, of matrices only.
        clip_norm: Largest gradient norm; 0 does not clip.
        warmup: Fraction of all steps over which the rate grows linearly from 0; it then falls to 0 as a cosine.
        kind: "adamw"; "adamw8bit" keeps its moments in 8 bits (arXiv 2110.02861); "paged_adamw8bit" also lets the
            GPU swap them to host memory.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    warmup: float = 0.03
    kind: str = "adamw"

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"optimizer.lr={self.lr}: expected a number above 0")
        if not 0 <= self.warmup < 1:
            raise UserError(f"optimizer.warmup={self.warmup}: expected a fraction of the steps, 0 <= warmup < 1")
        if self.kind not in OPTIMIZERS:
            raise unknown_choice("optimizer.kind", self.kind, list(OPTIMIZERS))


@dataclass(frozen=True)
class TrainerOptions:
    """Devices and precision of a run: the node of conf/trainer.

    Args:
        accelerator: "cpu" or "gpu".
        precision: "32-true", or "bf16-mixed" (float32 master weights); "auto": bf16-mixed on a GPU.
        devices: Processes of this node, one per GPU; "auto": all GPUs, or the processes that torchrun or Slurm started.
        nodes: Nodes; "auto": those of torchrun or Slurm, else 1.
    """

    accelerator: str = "cpu"
    precision: str = "auto"
    devices: int | str = "auto"
    nodes: int | str = "auto"

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise unknown_choice("trainer.accelerator", self.accelerator, list(ACCELERATORS))
        if self.precision not in (*PRECISIONS, "auto"):
            raise unknown_choice("trainer.precision", self.precision, [*PRECISIONS, "auto"])
        for name in ("devices", "nodes"):
            value = getattr(self, name)
            if value != "auto" and not (isinstance(value, int) and value > 0):
                raise UserError(f"trainer.{name}={value}: expected a number above 0, or auto")

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


@dataclass(frozen=True)
class BatchOptions:
    """Amount of training, and its division into steps and micro-batches.

    Args:
        budget: Size of a step and length of the run.
        micro_batch: Lines of one forward pass: rows, or packs of `max_length` tokens.
        max_length: Longest row in tokens.
        packing: Whether rows share a line.
    """

    budget: Budget
    micro_batch: int
    max_length: int
    packing: bool = False

    def __post_init__(self) -> None:
        for name in ("micro_batch", "max_length"):
            value = getattr(self, name)
            if not value > 0:
                raise UserError(f"strategy.{name}={value}: expected a number above 0")


@dataclass(frozen=True)
class CheckpointOptions:
    """Times of validation and of saving for a restart: the node `checkpoint` of conf/train.yaml.

    Args:
        every_steps: Optimizer steps between saves; None: not by steps.
        every_seconds: Seconds between saves; None: not by time.
        keep: Number of newest checkpoints kept.
        validate_every: Steps between validations; None: only after the last step.
        select: "last" returns the weights of the last step, "best" those of the lowest validation loss: of the task
            that is trained on, or over all tasks of a mixture.
    """

    every_steps: int | None = None
    every_seconds: float | None = 60.0
    keep: int = 2
    validate_every: int | None = None
    select: str = "last"

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise unknown_choice("checkpoint.select", self.select, list(SELECTIONS))
        if self.keep < 1:
            raise UserError(f"checkpoint.keep={self.keep}: expected at least 1")
        for name in ("every_steps", "validate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"checkpoint.{name}={value}: expected at least 1, or null")
        if self.select == "best" and self.validate_every is None:
            raise UserError(
                "checkpoint.select=best needs checkpoint.validate_every: after a single validation, at the end of the "
                "run, the last weights are the best"
            )


@dataclass(frozen=True)
class FitOptions:
    """All settings of a training run beside its model and its rows.

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
    trainer: TrainerOptions = TrainerOptions()
    checkpoints: CheckpointOptions = CheckpointOptions()
    seed: int = 0


def require_positive(value: int, key: str) -> None:
    """Check a count.

    Raises:
        UserError: It is below 1.
    """
    if value < 1:
        raise UserError(f"{key}={value}: expected at least 1")
