"""The features of docs/predictor.md, measured on a base and its specialists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import pandas as pd

from src.diagnostics.weight_diagnosis import Diagnosis
from src.lit_modules.gradients import GradientProducts, gradient_products
from src.predictor.features import FEATURES
from src.stages.evaluate.coefficient_losses import CoefficientLosses, mean_loss
from src.stages.evaluate.point_losses import Losses, PointLosses
from src.stages.job import SHARED_KEYS, Job, compose_job
from src.stages.merge.jobs import Parents
from src.stages.train.names import root_key
from src.utils.errors import UserError


def row_losses_of(job: Job, specialists: Sequence[str]) -> PointLosses:
    """The validation rows of the specialists' tasks, `predict_rows` of each.

    Args:
        job: Of `diagnose.py`.
        specialists: Their tasks.

    Raises:
        UserError: There are fewer than two specialists, or one is not named after a task.
    """
    if len(specialists) < 2:
        raise UserError(f"predict=true needs two or more specialists, got {', '.join(specialists) or 'none'}")
    shared = [word for word in job.overrides if root_key(word) in SHARED_KEYS]
    rows = [f"benchmark.limit={job.cfg.predict_rows}", f"benchmark.micro_batch={job.cfg.model.recipe.micro_batch}"]
    measure = PointLosses.of(compose_job("evaluate", [*shared, "split=validation", "benchmark=nll", *rows]))
    if sorted(measure.tasks) != sorted(specialists):
        names = ", ".join(measure.tasks)
        raise UserError(f"predict=true needs a specialist per task ({names}), got {', '.join(specialists)}; set tasks=")
    return measure


def measure_features(
    base: Path, specialists: Mapping[str, Path], found: Diagnosis, parameters: int, measure: PointLosses, pickled: bool
) -> dict[str, float]:
    """All features by name.

    Args:
        base: Checkpoint.
        specialists: Checkpoints by task.
        found: Their diagnosis; variants are named `TASK specialist`.
        parameters: Of the base.
        measure: See `row_losses_of`.
        pickled: See `Checkpoint`.
    """
    with TemporaryDirectory() as scratch:
        parents = Parents(base, tuple(specialists.items()), pickled, "cpu")
        losses = CoefficientLosses(parents, measure, Path(scratch))
        values = {"parameters": float(parameters), **_of_weights(found, list(specialists))}
        values |= _of_losses(losses, measure.tasks) | _of_gradients(losses, measure)
    return {name: values[name] for name in FEATURES}


def _of_weights(found: Diagnosis, tasks: Sequence[str]) -> dict[str, float]:
    names = [f"{task} specialist" for task in tasks]
    layers = found.layers[found.layers["variant"].isin(names)]
    pairs = found.correlations
    pairs = pairs[pairs["first"].isin(names) & pairs["second"].isin(names) & (pairs["kind"] == "all")]
    whole, single = pairs[pairs["layer"] == "all"], pairs[pairs["layer"] != "all"]
    alone = layers[(layers["layer"] == "all") & (layers["kind"] == "all")]
    return {
        "relative_update": _mean(alone, "relative_l2"),
        "norm": _mean(alone, "l2"),
        "effective_rank": _mean(alone, "effective_rank"),
        "pearson": _mean(single, "pearson"),
        "pearson_thresholded": _mean(single, "pearson_thresholded"),
        **{name: _mean(whole, name) for name in ("cosine", "sign_conflict", "subspace_overlap")},
    }


def _mean(rows: pd.DataFrame, column: str) -> float:
    value = float(rows[column].mean())  # layers that no specialist moves have no correlation and are left out
    if value != value:
        raise UserError(f"predict=true: {column} is undefined for these specialists; spectra_rank must be at least 1")
    return value


def _of_losses(losses: CoefficientLosses, tasks: Sequence[str]) -> dict[str, float]:
    base, *moved = losses.of([{}, *({task: 1.0} for task in tasks)])
    own: dict[str, Losses] = dict(zip(tasks, moved, strict=True))
    parts, best = losses.split(), losses.best_common()
    reached = fmean(own[task][task].mean for task in tasks)
    others = [(one, other) for pair in combinations(tasks, 2) for one, other in (pair, pair[::-1])]
    return {
        "base_nll": mean_loss(base),
        "gain": mean_loss(base) - reached,
        "forgetting": fmean(own[one][other].mean - base[other].mean for one, other in others),
        "half_excess": fmean(part.excess.mean for part in parts.values()),
        "half_shrinkage": fmean(part.shrinkage.mean for part in parts.values()),
        "half_interference": fmean(part.interference.mean for part in parts.values()),
        "lambda_star": best.place,
        "lambda_excess": best.value - reached,
    }


def _of_gradients(losses: CoefficientLosses, measure: PointLosses) -> dict[str, float]:
    half = dict.fromkeys(measure.tasks, 1.0 / len(measure.tasks))
    values: dict[str, float] = {}
    for name, coefficients in (("base", {}), ("merge", half)):
        products = _gradients(losses, measure, coefficients)
        values |= {f"gradient_distance_{name}": products.distance, f"gradient_cosine_{name}": products.cosine}
    return values


def _gradients(losses: CoefficientLosses, measure: PointLosses, coefficients: Mapping[str, float]) -> GradientProducts:
    measure.generator.load_lazy_merge(losses.points([coefficients])[0])
    assert measure.generator.model is not None
    return gradient_products(measure.generator.model, measure.rows())
