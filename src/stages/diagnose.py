"""`diagnose.py`: distance of every variant from the base by layer, and similarity of the specialists' updates."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from src.checkpoints.fingerprint import fingerprint
from src.diagnostics.diagnosis_lines import diagnosis_lines
from src.diagnostics.weight_diagnosis import DiagnosisSettings, diagnose_weights
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
from src.utils.progress import say


def diagnose(job: Job) -> Path:
    """Write the tables and figures of a diagnosis, and print what its main numbers say.

    Returns:
        The run directory.
    """
    cfg = job.cfg
    base = base_checkpoint(cfg)
    specialists = specialist_checkpoints(cfg)
    labels = {task: f"{task} specialist" for task in specialists}
    others = {str(name): _written(cfg, "variants", name) for name in cfg.variants}
    seeds = {f"{task} specialist, other seed": _written(cfg, "other_seeds", task) for task in cfg.other_seeds}
    variants = {labels[task]: path for task, path in specialists.items()} | seeds | others
    settings = DiagnosisSettings(
        cfg.threshold, list(cfg.extra_thresholds), top_share=cfg.top_share, spectra_rank=cfg.spectra_rank
    )
    named = ("model", "seed")
    seeded = [f"{task}2" for task in cfg.other_seeds]
    words = [model_label(cfg.model), *named_specialists(cfg), *job.extras(named), *seeded, *others, f"s{cfg.seed}"]
    directory = job.directory("-".join(words))
    inputs = {"base": fingerprint(base)} | {name: fingerprint(path) for name, path in variants.items()}
    with open_run(directory, stage="diagnose", config=job.identity(), inputs=inputs, argv=job.command) as run:
        if run.finished:
            return directory
        opened = match_tensors(*open_parents(base, variants, cfg.allow_pickle))
        found = diagnose_weights(*opened, settings, list(labels.values()), list(others))
        for name, table in vars(found).items():
            table.to_csv(run.work / f"{name}.csv", index=False)
        write_weight_figures(found.layers, found.correlations, run.work / "figures", labels)
        for line in diagnosis_lines(found):
            say(line)
    return directory


def _written(cfg: DictConfig, key: str, name: str) -> Path:
    return written_checkpoint(str(cfg[key][name]), f"{key}.{name}", cfg.allow_pickle)
