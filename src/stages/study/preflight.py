"""Confounds of a study: those of its plan, before anything is trained, and those of its runs, before the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.evaluation.preflight.evaluation_checks import check_ends
from src.evaluation.preflight.facts import Choice, Measurement, Model, Subject
from src.evaluation.preflight.finding import Finding, by_severity, refuse
from src.evaluation.preflight.preflight import preflight
from src.evaluation.preflight.reading import measurement_of, read_subject, trained_model
from src.evaluation.preflight.score_checks import check_specialists
from src.stages.benchmarks import benchmark_nodes
from src.stages.study.execute import ScoredModel
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel
from src.utils.progress import say

OFF, STRICT = "off", "strict"
TRIED = {"mix": "study.ratios", "merge": "study.weights, study.methods and study.grids"}  # keys of the candidates


def check_plan(jobs: StudyJobs, mode: str) -> list[Finding]:
    """Say what in the plan may decide the study besides what it compares; `strict` refuses it, `off` does not look.

    Raises:
        UserError: `mode` is `strict`, and there is something.
    """
    found = [] if mode == OFF else by_severity(preflight(list(_planned(jobs))))
    if mode == STRICT:
        refuse(found)
    tell(found)
    return found


def tell(findings: Iterable[Finding]) -> None:
    """Print findings, one line each."""
    for finding in findings:
        say(f"{finding.severity}: {finding.sentence}")


def check_runs(jobs: StudyJobs, scored: Iterable[ScoredModel], mode: str, planned: Sequence[Finding]) -> list[Finding]:
    """Find the same in the finished runs: records, files, answers, and scores of the specialists.

    Args:
        jobs: The study.
        scored: Its models on test data, and their candidates on validation data.
        mode: See `check_plan`.
        planned: Findings of the plan.

    Returns:
        All findings; those of the plan that the runs repeat with their own values are replaced.

    Raises:
        UserError: `mode` is `strict`, and the runs have findings.
    """
    if mode == OFF:
        return []
    by_seed: dict[int, list[Subject]] = {seed: [] for seed in jobs.seeds}
    on_validation: dict[str, dict[str, dict[str, int]]] = {}
    for item in scored:
        model = item.trained.model
        if item.split == "validation":
            on_validation[model.step] = item.finish()
        elif model.mask_seed in (None, jobs.plan.mask_seeds[0]):
            subject = _with_choice(read_subject(model.step, item.directory, item.trained.checkpoint), jobs, model)
            for seed in jobs.seeds if model.kind == "base" else [model.seed]:
                by_seed[seed].append(subject)
    first, *others = by_seed.values()  # the other seeds have the same settings; only their specialists may fail
    found = [*preflight(first), *(one for subjects in others for one in check_specialists(subjects))]
    found += check_ends(on_validation, "validation")
    if mode == STRICT:
        refuse(found)
    kinds = {finding.kind for finding in found}
    return by_severity([*found, *(finding for finding in planned if finding.kind not in kinds)])


def _planned(jobs: StudyJobs) -> Iterator[Subject]:
    """The first training seed's models, as far as their commands tell; of merges, those that differ in evaluation."""
    for model in jobs.trained:
        if model.seed == jobs.seeds[0] and model.kind != "base":
            record = {"config": _plain(model.job.cfg)}
            subject = Subject(model.name, trained_model(model.name, record, {}), _planned_evaluation(jobs, model))
            yield _with_choice(subject, jobs, model)
    if jobs.plan.mixture:
        merged = Model("merges", "merge", choice=_choice(jobs, "merge"))
        yield Subject("merges", merged, _planned_evaluation(jobs, jobs.grid[0]))


def _planned_evaluation(jobs: StudyJobs, model: PlannedModel) -> Measurement:
    job = jobs.evaluation(model, "DIR", "test")
    config = {"split": "test", "benchmarks": {name: _plain(node) for name, node in benchmark_nodes(job).items()}}
    return measurement_of({"config": config | {"generator": _plain(job.cfg.generator)}})


def _with_choice(subject: Subject, jobs: StudyJobs, model: PlannedModel) -> Subject:
    """A mixture or merge with the number of models that it was chosen from; its record does not know the study."""
    if model.kind not in ("mix", "merge") or subject.model is None:
        return subject
    return replace(subject, model=replace(subject.model, choice=_choice(jobs, model.kind)))


def _choice(jobs: StudyJobs, kind: str) -> Choice:
    of_first_seed = (model for model in (*jobs.trained, *jobs.grid) if model.seed == jobs.seeds[0])
    return Choice("validation", sum(model.kind == kind for model in of_first_seed), TRIED[kind])


def _plain(node: DictConfig) -> Any:
    return OmegaConf.to_container(node, resolve=True)
