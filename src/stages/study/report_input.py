"""What a study found, as the tables of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from src.evaluation.statistics.bootstrap import Spread
from src.evaluation.statistics.verdict import TIE, Verdict
from src.reporting.study_report import StudyReport
from src.runs.record import environment
from src.stages.study.execute import ScoredModel, TrainedModel, cost_of
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import StudyPlan

CAVEATS = (
    "Intervals cover the choice of problems, not of training seeds: repeat the study with other seeds to cover those.",
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
    grid: Sequence[TrainedModel],
    chosen: Mapping[str, TrainedModel],
    evaluated: Sequence[ScoredModel],
    verdict: Verdict,
    diagnosis: Path,
    tasks: Mapping[str, str],
    spreads: Mapping[str, Spread],
) -> StudyReport:
    """Collect the report's input from the run directories of a study."""
    plan = jobs.plan
    specialists = {item.model.task: item.model.name for item in trained if item.model.task is not None}
    found = environment()
    return StudyReport(
        title=plan.title,
        verdict=verdict.sentence,
        tasks=tuple(plan.tasks),
        specialists=specialists,
        headline=plan.headline,
        scores=pd.concat([item.scores(dict(tasks)) for item in evaluated], ignore_index=True),
        chosen=pd.DataFrame(
            [{"subject": m.model.name, "method": method, "weight": m.model.weight} for method, m in chosen.items()]
        ),
        comparisons=_comparisons(verdict),
        layers=pd.read_csv(diagnosis / "layers.csv"),
        correlations=pd.read_csv(diagnosis / "correlations.csv"),
        cost=cost_of([*trained, *chosen.values()]),
        commands=_commands([*trained, *grid, *chosen.values()], evaluated),
        environment={
            "training seed": str(jobs.seed),
            "mask seeds": ", ".join(map(str, plan.mask_seeds)),
            "commit": str(found["commit"]),
            "machine": f"{found['machine']['platform']}, {found['machine']['cpus']} cores",
            **found["versions"],
        },
        caveats=(*plan.caveats, *CAVEATS, *_spread_sentences(spreads)),
        setup=_setup(plan),
    )


def _comparisons(verdict: Verdict) -> pd.DataFrame:
    words = {TIE: "tie", "mix": "mixture wins"}
    return pd.DataFrame(
        [
            {
                "method": item.method,
                "difference": item.difference.difference,
                "low": item.difference.low,
                "high": item.difference.high,
                "p": item.p_corrected,
                "verdict": words.get(item.winner, "merge wins"),
            }
            for item in verdict.comparisons
        ]
    )


def _spread_sentences(spreads: Mapping[str, Spread]) -> list[str]:
    return [
        f"{method}: over {found.n} mask seeds the average on test data has mean {100 * found.mean:+.2f} % and standard "
        f"deviation {100 * found.deviation:.2f} points ({100 * found.lowest:+.2f} to {100 * found.highest:+.2f})."
        for method, found in spreads.items()
    ]


def _commands(made: Sequence[TrainedModel], evaluated: Sequence[ScoredModel]) -> pd.DataFrame:
    """Every row of the tables: the line that makes the checkpoint and those that score it."""
    rows = [{"subject": item.model.name, "command": " ".join(item.model.job.command)} for item in made]
    rows += [{"subject": item.trained.model.name, "command": " ".join(item.job.command)} for item in evaluated]
    return pd.DataFrame(rows)


def _setup(plan: StudyPlan) -> str:
    settings = (
        "Specialists and mixture see the same rows of each task, with the same settings and the same number of passes."
        if not plan.run_overrides and not plan.model_overrides
        else "The settings of each run stand in its command line."
    )
    return (
        f"Base model {plan.model}; tasks {', '.join(plan.tasks)}; merge methods {', '.join(plan.methods)} at "
        f"{len(plan.weights)} weights of the first task from {min(plan.weights):g} to {max(plan.weights):g}. "
        f"{settings}"
    )
