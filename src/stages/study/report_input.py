"""Input of a study's report, collected from its run directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.bootstrap import spread
from src.evaluation.statistics.verdict import StudyVerdict
from src.reporting.names import method_label
from src.reporting.sentences import spread_sentence
from src.reporting.study_report import Side, StudyReport, models_in_order
from src.runs.environment import environment
from src.stages.study.choice import Choice, choice_sentence
from src.stages.study.costs import answers_to, costs
from src.stages.study.execute import ScoredModel, TrainedModel
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import StudyPlan

CAVEATS = (
    "Coefficients were chosen on validation problems; test problems were scored once, for the chosen points only.",
)


def benchmark_tasks(cfg: DictConfig) -> dict[str, str]:
    """benchmark -> task that it measures, for a training config's tasks."""
    return {
        str(benchmark): str(name) for name, task in cfg.tasks.items() for benchmark in task.benchmarks[cfg.model.data]
    }


def study_report(
    jobs: StudyJobs,
    trained: Sequence[TrainedModel],
    choice: Choice,
    chosen: Mapping[str, TrainedModel],
    on_test: Sequence[ScoredModel],
    scores: Mapping[str, RelativeScores],
    verdict: StudyVerdict,
    diagnosis: Path,
) -> StudyReport:
    """Collect the report's input from the run directories of a study."""
    plan, found = jobs.plan, environment()
    grid, evaluated = choice.generated, [*choice.scored, *on_test]
    merge = next(made for made in chosen.values() if made.model.name == verdict.merge.subject)
    mixture = next(made for made in trained if made.model.name == verdict.mixture.subject)
    return StudyReport(
        title=plan.title,
        verdict=verdict,
        tasks=tuple(jobs.tasks),
        models=models_in_order(item.model for item in (*trained, *grid, *chosen.values())),
        scores=scores,
        headline={task: plan.headline[task] for task in jobs.tasks},
        chosen=(
            *(made.model.name for made in chosen.values()),
            *([mixture.model.name] if jobs.candidates else []),
        ),
        layers=pd.read_csv(diagnosis / "layers.csv"),
        correlations=pd.read_csv(diagnosis / "correlations.csv"),
        chance=pd.read_csv(diagnosis / "chance.csv"),
        survival=pd.read_csv(diagnosis / "survival.csv"),
        cost=costs(trained, grid, merge, choice.scored, choice.losses),
        commands=_commands([*trained, *grid, *chosen.values()], evaluated),
        environment={
            "training seeds": ", ".join(map(str, jobs.seeds)),
            "mask seeds": ", ".join(map(str, plan.mask_seeds)),
            "commit": str(found["commit"]),
            "machine": f"{found['machine']['platform']}, {found['machine']['cpus']} cores",
            **found["versions"],
        },
        caveats=(*plan.caveats, *CAVEATS, *_spreads(plan, chosen, scores["test"])),
        setup=f"{_setup(plan)} {choice_sentence(plan.choice, choice.cost)}",
        sides=tuple(_side(jobs, made, choice.scored, scores) for made in (mixture, merge)),
    )


def _side(
    jobs: StudyJobs, made: TrainedModel, on_validation: Sequence[ScoredModel], scores: Mapping[str, RelativeScores]
) -> Side:
    """How the champion of a side was chosen."""
    kind, name = made.model.kind, made.model.name
    tried = [item for item in on_validation if item.trained.model.kind == kind]
    averages = {split: relative.averages[name].mean for split, relative in scores.items()}
    return Side(
        side=kind,
        chosen=made.model.in_a_sentence,
        candidates=len({model.name for model in (*jobs.trained, *jobs.grid) if model.kind == kind}),
        answers=answers_to(tried),
        checkpoint=str(made.checkpoint),
        **averages,
    )


def _spreads(plan: StudyPlan, chosen: Mapping[str, TrainedModel], test: RelativeScores) -> list[str]:
    """Sentences about how much the averages of merges with random masks depend on the mask seed."""
    averages = {method: test.seed_averages(chosen[method].model.name) for method in plan.random_methods}
    return [spread_sentence(method, spread(found)) for method, found in averages.items() if len(found) > 1]


def _commands(made: Sequence[TrainedModel], evaluated: Sequence[ScoredModel]) -> pd.DataFrame:
    """For every row of the tables, the command that produces the checkpoint and those that score it."""
    rows = [{"subject": item.model.name, "command": " ".join(item.model.job.command)} for item in made]
    rows += [{"subject": item.trained.model.name, "command": " ".join(item.job.command)} for item in evaluated]
    return pd.DataFrame(rows)


def _setup(plan: StudyPlan) -> str:
    settings = (
        "Specialists and mixture see the same rows of each task, with the same settings and the same number of passes."
        if not plan.run_overrides and not plan.model_overrides
        else "Each run's settings are in its command line, listed under Commands."
    )
    ratios = plan.ratios or ()
    mixtures = f" Mixtures with {', '.join(f'{ratio:g}' for ratio in ratios)} of {plan.tasks[0]}." if ratios else ""
    return (
        f"Base model {plan.model}; tasks {', '.join(plan.tasks)}; merge methods "
        f"{', '.join(map(method_label, plan.methods))} at {len(plan.weights)} coefficients of the first task from "
        f"{min(plan.weights):g} to {max(plan.weights):g}.{mixtures} {settings}"
    )
