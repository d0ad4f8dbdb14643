"""`diagnose.py`: distance of every variant from the base by layer, and similarity of the specialists' updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from src.checkpoints.fingerprint import fingerprint
from src.diagnostics.diagnosis_lines import diagnosis_lines
from src.diagnostics.weight_diagnosis import DiagnosisSettings, diagnose_weights
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import open_parents
from src.predictor.atlas import FILE
from src.predictor.features import SETTINGS
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
from src.stages.predict.answer import prediction_lines
from src.stages.predict.features import measure_features, row_losses_of
from src.stages.trackers import tracked
from src.utils.files import read_json_object, write_json
from src.utils.progress import say


@tracked
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
    measure = row_losses_of(job, list(specialists)) if cfg.predict else None
    inputs |= {"rows": measure.content()} if measure else {}
    with open_run(directory, stage="diagnose", config=job.identity(), inputs=inputs, argv=job.command) as run:
        if run.finished:
            _predict(cfg, directory, list(specialists))
            return directory
        parents = {"base": base, **variants}
        run.results["parents"] = {name: str(place.absolute()) for name, place in parents.items()}
        opened = match_tensors(*open_parents(base, variants, cfg.allow_pickle))
        found = diagnose_weights(*opened, settings, list(labels.values()), list(others))
        for name, table in vars(found).items():
            table.to_csv(run.work / f"{name}.csv", index=False)
        write_weight_figures(found.layers, found.correlations, run.work / "figures", labels)
        for line in diagnosis_lines(found):
            say(line)
        if measure:
            parameters = sum(info.numel for info in opened[0].table.values())
            features = measure_features(base, specialists, found, parameters, measure, cfg.allow_pickle)
            write_json(run.work / FILE, {"features": features, "settings": {name: cfg[name] for name in SETTINGS}})
    _predict(cfg, directory, list(specialists))
    return directory


def _predict(cfg: DictConfig, directory: Path, tasks: Sequence[str]) -> None:
    """Print what the predictor says now: it may have been fitted again since the features were measured."""
    if cfg.predict:
        for line in prediction_lines(read_json_object(directory / FILE), tasks, cfg.predictor):
            say(line)


def _written(cfg: DictConfig, key: str, name: str) -> Path:
    return written_checkpoint(str(cfg[key][name]), f"{key}.{name}", cfg.allow_pickle)
