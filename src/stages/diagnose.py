"""`diagnose.py`: distance of every variant from the base by layer, and similarity of the specialists' updates."""

from __future__ import annotations

from pathlib import Path

from src.checkpoints.fingerprint import fingerprint
from src.diagnostics.weight_diagnosis import diagnose_weights
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import open_parents
from src.reporting.write import write_weight_figures
from src.runs.record import open_run
from src.stages.checkpoints import (
    base_checkpoint,
    model_label,
    named_specialists,
    specialist_checkpoints,
    written_checkpoint,
)
from src.stages.job import Job


def diagnose(job: Job) -> Path:
    """Write `layers.csv`, `correlations.csv` and the figures of a diagnosis.

    Returns:
        The run directory.
    """
    cfg = job.cfg
    base = base_checkpoint(cfg)
    specialists = specialist_checkpoints(cfg)
    others = {
        str(name): written_checkpoint(str(path), f"variants.{name}", cfg.allow_pickle)
        for name, path in cfg.variants.items()
    }
    variants = {f"{task} specialist": path for task, path in specialists.items()} | others
    named = ("model", "seed")
    words = [model_label(cfg.model), *named_specialists(cfg), *job.extras(named), *others, f"s{cfg.seed}"]
    directory = job.directory("-".join(words))
    inputs = {"base": fingerprint(base)} | {name: fingerprint(path) for name, path in variants.items()}
    with open_run(directory, stage="diagnose", config=job.identity(), inputs=inputs, argv=job.command) as run:
        if run.finished:
            return directory
        opened = match_tensors(*open_parents(base, variants, cfg.allow_pickle))
        found = diagnose_weights(*opened, threshold=cfg.threshold)
        found.layers.to_csv(run.work / "layers.csv", index=False)
        found.correlations.to_csv(run.work / "correlations.csv", index=False)
        labels = {task: f"{task} specialist" for task in specialists}
        write_weight_figures(found.layers, found.correlations, run.work / "figures", labels)
    return directory
