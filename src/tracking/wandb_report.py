"""W&B Report of a finished study, from its run directory: its sections are those of our own report.

Panels show the study's own runs and no others: they are selected by the ids that their records keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from src.runs.finished import read_record
from src.tracking.contents import TRACKED, flat
from src.tracking.wandb_run import STEP, WandbTracker
from src.utils.errors import UserError

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2.interface as wr

CURVES = ("train/loss", "val/all/loss")
BARS = 8  # metrics with a panel of their own
PANELS_PER_ROW, WIDTH, HEIGHT = 2, 24, 8  # of W&B's grid


@dataclass(frozen=True)
class ReportPlan:
    """What the Report says, from the study's record and those of its runs.

    Args:
        title: The study's.
        verdict: Its lines.
        project: W&B project of the study's run.
        entity: Its W&B team or user; None: the key's own.
        study: Id of the study's run.
        runs: Stage -> ids of the runs that led to it.
        scores: Names of the scores in the runs of evaluations, e.g. `scores/mbpp/pass@1`.
        plane: Scores on the axes of the trade-off plot: those of `study.headline`.
        headline: The table of the same name.
        figures: Names of the study's figures.
        tables: Names of its tables.
        commands: Commands that repeat it, in their order.
    """

    title: str
    verdict: str
    project: str
    entity: str | None
    study: str
    runs: Mapping[str, Sequence[str]]
    scores: Sequence[str]
    plane: Sequence[str]
    headline: pd.DataFrame
    figures: Sequence[str]
    tables: Sequence[str]
    commands: Sequence[str]


def report_plan(directory: Path) -> ReportPlan:
    """Collect the contents of a study's Report.

    Args:
        directory: Run directory of a study with one verdict.

    Raises:
        UserError: The study is not finished, or not in W&B.
    """
    found = dict(lineage(directory))
    record = found.get(directory)
    place = {} if record is None else record["results"].get(TRACKED, {}).get("wandb", {})
    if record is None or "id" not in place:
        raise UserError(f"{directory}: expected a finished study with its run in W&B; add logger=wandb to its command")
    runs: dict[str, list[str]] = {}
    for one in found.values():
        if run := one["results"].get(TRACKED, {}).get("wandb", {}).get("id"):
            runs.setdefault(one["stage"], []).append(run)
    scores = dict.fromkeys(
        name
        for one in found.values()
        if one["stage"] == "evaluate"
        for name, _ in flat({"scores": one["results"].get("scores", [])})
        if name.count("/") == 2
    )
    study = record["config"].get("study", {})
    named = [f"/{metric}" for metric in study.get("headline", {}).values()]
    plane = [next((name for name in scores if name.endswith(metric)), None) for metric in named]
    headline = directory / "headline.csv"
    outputs = [name.rpartition(".") for name in record["outputs"]]
    return ReportPlan(
        title=str(study.get("title", directory.name)),
        verdict=str(record["results"].get("verdict", "")),
        project=place["project"],
        entity=place.get("entity") or None,
        study=place["id"],
        runs=runs,
        scores=list(scores),
        plane=[name for name in plane if name],
        headline=pd.read_csv(headline) if headline.is_file() else pd.DataFrame(),
        figures=sorted(name for name, _, ending in outputs if ending == "png"),
        tables=sorted(name for name, _, ending in outputs if ending == "csv"),
        commands=list(dict.fromkeys(" ".join(one["argv"]) for one in reversed(found.values()) if one["argv"])),
    )


def lineage(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A finished run, then all runs that led to it, nearest first, with their records."""
    waiting, seen = [directory], set()
    while waiting:
        place = waiting.pop(0)
        record = read_record(place)
        if place.resolve() in seen or record is None or record.get("state") != "finished":
            continue
        seen.add(place.resolve())
        yield place, record
        results = record["results"]
        above = [*results.get("used", ()), *results.get("parents", {}).values()]
        above += [results["checkpoint"]] if isinstance(results.get("checkpoint"), str) else []
        waiting += [Path(one) for one in above]


def build_report(plan: ReportPlan) -> wr.Report:
    """The Report as W&B's own object, not yet saved."""
    import wandb_workspaces.reports.v2.interface as wr  # seconds of import that only its users pay

    ids = [one for stage, found in plan.runs.items() if stage != "study" for one in found]
    scored, own = _runset("Evaluations", plan.runs.get("evaluate", ())), _runset("Study", [plan.study])
    plane = [wr.ScatterPlot(title="Trade-off", x=wr.SummaryMetric(plan.plane[0]), y=wr.SummaryMetric(plan.plane[1]))]
    bars = [wr.BarPlot(title=name, metrics=[name], orientation="h") for name in plan.scores[:BARS]]
    curves = [wr.LinePlot(title=name, x=STEP, y=[name]) for name in CURVES]
    media = wr.MediaBrowser(media_keys=list(plan.figures), num_columns=2)
    blocks: list[Any] = [
        wr.H1(text="Verdict"),
        wr.MarkdownBlock(text=plan.verdict),
        wr.MarkdownBlock(text=markdown_table(plan.headline)),
        wr.H1(text="Scores"),
        _grid([scored], [*(plane if len(plan.plane) == 2 else []), *bars]),
        wr.H1(text="Training"),
        _grid([_runset("Training", plan.runs.get("train", ()))], curves),
        wr.H1(text="Figures"),
        _grid([own], [media]),
        wr.H1(text="Tables"),
        _grid([own], [wr.WeavePanelSummaryTable(table_name=name) for name in plan.tables]),
        wr.H1(text="Runs"),
        _grid([_runset("All runs", ids)], [wr.RunComparer(diff_only=True)]),
        wr.H1(text="Commands"),
        wr.MarkdownBlock(text="\n".join(["```sh", *plan.commands, "```"])),
    ]
    return wr.Report(
        project=plan.project, entity=plan.entity or "", title=plan.title[:128], blocks=blocks, width="fluid"
    )


def save_report(plan: ReportPlan) -> str:
    """Save the Report in W&B and return its address.

    Raises:
        UserError: There is no key, or W&B cannot be reached.
    """
    import wandb

    if WandbTracker().mode != "online":
        raise UserError("wandb_report: a W&B Report needs a key; run `wandb login`, and `wandb sync` the offline runs")
    report = build_report(plan)
    try:
        report.entity = plan.entity or str(wandb.Api().default_entity)
        report.save()
    except Exception as error:  # from requests, from W&B, from its GraphQL client
        raise UserError(f"wandb_report: W&B refuses the Report or cannot be reached: {error}") from error
    return str(report.url)


def markdown_table(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers with four significant digits.

    Example:
        >>> print(markdown_table(pd.DataFrame({"model": ["a|b"], "score": [0.123456]})))
        | model | score |
        | --- | --- |
        | a\\|b | 0.1235 |
    """
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    rows += [[_cell(value) for value in row] for row in table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _runset(name: str, ids: Sequence[str]) -> wr.Runset:
    import wandb_workspaces.expr as expr
    import wandb_workspaces.reports.v2.interface as wr

    # of the Report's own project: with its name, the library would ask the server for its id
    return wr.Runset(name=name, filters=[expr.Metric("ID").isin(list(ids))])


def _grid(runsets: list[Any], panels: list[Any]) -> wr.PanelGrid:
    import wandb_workspaces.reports.v2.interface as wr

    width = WIDTH // (PANELS_PER_ROW if len(panels) > 1 else 1)
    for index, panel in enumerate(panels):
        row, column = divmod(index, PANELS_PER_ROW)
        panel.layout = wr.Layout(x=column * width, y=row * HEIGHT, w=width, h=HEIGHT)
    return wr.PanelGrid(runsets=runsets, panels=panels)
