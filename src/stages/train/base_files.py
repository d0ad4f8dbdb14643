"""Config and tokenizer of the base of a training run, without its weights."""

from __future__ import annotations

from pathlib import Path

from src.models import ModelSpec, local_directory, model_config
from src.models.save import save_config, save_tokenizer
from src.stages.build import build
from src.stages.checkpoints import WITHOUT_WEIGHTS, existing_checkpoint, is_published, trained_directory
from src.stages.job import Job, compose_job
from src.stages.train.names import base_overrides
from src.stages.train.random_base import base_tokenizer
from src.utils.errors import UserError


def base_files(job: Job, model: ModelSpec, temporary: Path) -> Path:
    """Find or make a directory with the config and the tokenizer that a training run starts from.

    Args:
        job: The run.
        model: Its model.
        temporary: Existing directory for the files of a base that is not there yet.

    Returns:
        A directory for which `load_tokenizer` and `AutoConfig` need no network. It may have no weights.

    Raises:
        UserError: There is no such base, or no tokenizer for it.
    """
    cfg = job.cfg
    if cfg.base is not None:
        return existing_checkpoint(str(cfg.base), "base")
    if is_published(cfg.model):
        return _published(model, temporary)
    made = trained_directory(cfg, "base", None)
    if made.is_dir():
        return made
    base = job if cfg.strategy.name == "base" else compose_job("train", base_overrides(job, model))
    rows = build(base.cfg.strategy.source).examples("train") if model.data == "pocket" else []
    if not model.is_drawn:
        directory: Path = build(base.cfg.strategy.architecture).write(temporary, rows, seed=cfg.seed)
        return directory
    tokenizer = base_tokenizer(model, rows)
    save_tokenizer(tokenizer, temporary)
    place = Path(str(model.path))
    config = model_config(
        place if place.is_dir() else None, model.architecture, shrink=model.shrink, tokenizer=tokenizer
    )
    save_config(config, temporary)
    return temporary


def _published(model: ModelSpec, temporary: Path) -> Path:
    """Files of a published checkpoint; offline, with `model.tokenizer=DIR`, its config is that of conf/model."""
    try:
        return local_directory(str(model.path), "model.path", model.revision, WITHOUT_WEIGHTS, weights=False)
    except UserError:
        if model.tokenizer is None or model.architecture is None:
            raise
    save_config(model_config(None, model.architecture), temporary)
    return temporary
