"""The plan of a training run: steps, tokens, time and disk, known before its network is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.data.budget import step_starts
from src.data.mixture import Mixture, rows_per_epoch
from src.lit_modules.options import CheckpointOptions, FitOptions
from src.lit_modules.world import World
from src.models import ModelSpec, parameter_counts, torch_dtype
from src.reporting.format import count, duration, size
from src.runs.record import size_on_disk, work_directory
from src.stages.merge.room import free_bytes
from src.stages.train.measured_rate import Rate, measured_rate
from src.stages.train.prepared import PreparedRows
from src.utils.errors import UserError
from src.utils.progress import say
from src.utils.ranks import from_main

MOMENTS = {"adamw": 8.0, "adamw8bit": 2.1, "paged_adamw8bit": 2.1}  # bytes per trained weight in a checkpoint
ADDED = 0.01  # share of a file's size for its header, tokenizer and counters


@dataclass(frozen=True)
class TrainingPlan:
    """What a run will do and need.

    Args:
        model: Name of the model.
        parameters: Weights of the network.
        trained: Weights with a gradient; with adapters, those of the adapters.
        steps: Optimizer steps.
        epochs: Passes over the rows of an epoch.
        drawn: Rows and tokens of each task in the whole run, repetitions included.
        devices: Processes, one per GPU, or on the CPU.
        rate: Measured speed; None: no finished run shows it.
        export_bytes: Size of the exported checkpoint.
        checkpoint_bytes: Size of one checkpoint for a restart.
        checkpoints: Maximum number of these on disk at a time.
        directory: Run directory.
    """

    model: str
    parameters: int
    trained: int
    steps: int
    epochs: float
    drawn: Mapping[str, Mapping[str, int]]
    devices: int
    rate: Rate | None
    export_bytes: float
    checkpoint_bytes: float
    checkpoints: int
    directory: Path

    @property
    def tokens(self) -> int:
        """Tokens of the run, prompts included."""
        return sum(counts["tokens"] for counts in self.drawn.values())

    @property
    def disk_bytes(self) -> float:
        """Bytes that the run takes at most; the last checkpoints are there until the export is written."""
        return self.export_bytes + self.checkpoints * self.checkpoint_bytes

    def record(self) -> dict[str, Any]:
        """Values for `run.json`, which plans of later runs read."""
        counts = {"all": self.parameters, "trained": self.trained}
        return {"trained_on": self.drawn, "parameters": counts, "steps": self.steps, "epochs": self.epochs}

    def lines(self) -> list[str]:
        """The plan as sentences."""
        share = "all trained" if self.trained >= self.parameters else f"{count(self.trained)} trained in adapters"
        shares = (f"{task} {counts['rows']:,} rows, {counts['tokens']:,} tokens" for task, counts in self.drawn.items())
        return [
            f"plan: {self.model}, {count(self.parameters)} parameters, {share}",
            f"plan: {self.steps:,} steps, {self.epochs:.3g} epochs, {self.tokens:,} tokens: {'; '.join(shares)}",
            self._time(),
            *self._disk(),
        ]

    def room_error(self) -> UserError | None:
        """An error if the disk has no room for the run; what an interrupted attempt has written counts as there."""
        needed = self.disk_bytes - size_on_disk(work_directory(self.directory))
        _, free = free_bytes(self.directory)
        if needed <= free:
            return None
        return UserError(
            f"{self.directory} needs {size(needed)}, its disk has {size(free)} left: {self.checkpoints} checkpoints of "
            f"{size(self.checkpoint_bytes)} and the export; free some space, choose another output=, or lower "
            f"checkpoint.keep"
        )

    def _time(self) -> str:
        where = f"{self.devices} device{'s' * (self.devices > 1)}"
        if self.rate is None:
            return f"time: not estimated on {where}, no finished run of this model on such a machine shows its speed"
        seconds = self.tokens / self.rate.tokens_per_second
        return (
            f"time: {duration(seconds)} on {where} ({seconds * self.devices / 3600:.3g} device-hours) at "
            f"{self.rate.tokens_per_second:,.0f} tokens per second, as in {self.rate.run}; validation and saving come "
            "on top"
        )

    def _disk(self) -> Iterator[str]:
        _, free = free_bytes(self.directory)
        number = f"{self.checkpoints} checkpoint{'s' * (self.checkpoints > 1)}"
        yield (
            f"disk: {size(self.disk_bytes)} at most, {size(free)} free: {size(self.export_bytes)} for the export, up "
            f"to {number} of {size(self.checkpoint_bytes)} for a restart"
        )


def announce(plan: TrainingPlan, shown: bool) -> None:
    """Print a plan before its training begins, if `shown`, and look for room on the disk.

    Raises:
        UserError: On all ranks, if the disk of the first has no room.
    """
    for line in plan.lines() if shown else ():
        say(line)
    error = from_main(plan.room_error())
    if error is not None:
        raise error


def training_plan(
    model: ModelSpec,
    origin: Path,
    rows: PreparedRows,
    options: FitOptions,
    world: World,
    directory: Path,
    output_root: Path,
) -> TrainingPlan:
    """Plan a run.

    Args:
        model: Its model.
        origin: Directory with the `config.json` that training starts from.
        rows: Its rows.
        options: Its settings.
        world: Its processes.
        directory: Its run directory.
        output_root: Directory of all runs, of which a finished one may show the speed.
    """
    mixture = Mixture(rows.train, options.seed, rows_per_epoch(rows.train, options.mix))
    starts = step_starts(mixture, options.batches.budget)
    parameters, trained = parameter_counts(origin, None if model.adapter is None else model.lora)
    steps, end = len(starts) - 1, int(starts[-1])
    saved = trained * (4 + MOMENTS[options.optimizer.kind])
    if model.adapter is not None and world.size > 1:  # shards are saved whole
        saved += parameters * (2 if options.trainer.half else 4)
    export = parameters * torch_dtype(model.dtype).itemsize
    return TrainingPlan(
        model.name, parameters, trained, steps, end / len(mixture), mixture.drawn(end), world.size,
        measured_rate(output_root, model.name, (parameters, trained), world.size),
        (1 + ADDED) * export, (1 + ADDED) * saved, _checkpoints(options.checkpoints, steps), directory,
    )  # fmt: skip


def _checkpoints(options: CheckpointOptions, steps: int) -> int:
    """Number of checkpoints on disk at most: those kept, the best one, and the one that is being written."""
    most = options.keep + 1 + (options.select == "best")
    if options.every_seconds is not None:
        return most  # the time of a step is not known
    saves = 1 + steps // options.every_steps if options.every_steps else 1
    return min(most, saves if options.select == "last" else most)
