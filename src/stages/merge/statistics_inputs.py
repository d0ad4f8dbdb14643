"""Statistics for Fisher and RegMean merges: find them, and check that they belong to the parents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from src.runs.finished import open_finished
from src.stages.checkpoints import STATISTICS, trained_directories
from src.utils.errors import UserError


def needed_statistics(cfg: DictConfig) -> str | None:
    """Strategy of `train.py` that computes the statistics for a merge; None if it needs none or names its own."""
    method = str(cfg.merge._target_).rpartition(".")[2]
    return method if method in STATISTICS and cfg.merge.statistics is None else None


def needs_statistics(cfg: DictConfig) -> bool:
    """True if a merge reads statistics, whoever computed them."""
    return needed_statistics(cfg) is not None or bool(cfg.merge.get("statistics"))


def statistics_places(cfg: DictConfig, fingerprints: Mapping[str, Mapping[str, str]]) -> dict[str, Path]:
    """Directory of each specialist's statistics: `merge.statistics`, or the standard run directories.

    Args:
        cfg: Of `merge.py`.
        fingerprints: File hashes of each specialist by name.

    Returns:
        An empty mapping for a method that needs none.

    Raises:
        UserError: Some are missing (the message holds the commands that compute them) or belong to other weights.
    """
    kind = needed_statistics(cfg)
    if kind is not None:
        places = trained_directories(cfg, kind, fingerprints)
    else:
        places = {str(name): Path(place) for name, place in (cfg.merge.get("statistics") or {}).items()}
    for name, place in places.items():
        run = open_finished(place)  # statistics from elsewhere have no record
        if run is not None and run.inputs.get("checkpoint") != fingerprints.get(name):
            raise UserError(f"merge.statistics.{name}={place} was not computed from specialists.{name}'s weights")
    return places
