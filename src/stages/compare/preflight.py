"""Confounds of a comparison, before it is made: of evaluations with their checkpoints, or of checkpoints alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from src.evaluation.preflight.facts import Subject
from src.evaluation.preflight.finding import Finding, refuse
from src.evaluation.preflight.preflight import preflight
from src.evaluation.preflight.reading import read_subject
from src.reporting.console import print_findings
from src.runs.finished import RECORD
from src.runs.paths import checkpoint_label
from src.runs.record import open_run
from src.stages.compare.evaluations import Evaluation, evaluation_name, is_checkpoint, open_evaluations
from src.stages.job import Job
from src.utils.files import sha256_file


def check_evaluations(found: Sequence[Evaluation], mode: str) -> list[Finding]:
    """Print the confounds of evaluations; `strict` refuses them, `off` looks for none.

    Raises:
        UserError: `mode` is `strict`, and there are some.
    """
    return tell(
        [read_subject(evaluation.name, evaluation.directory) for evaluation in found] if mode != "off" else [], mode
    )


def tell(subjects: Sequence[Subject], mode: str) -> list[Finding]:
    """Print the confounds of subjects; see `check_evaluations`."""
    if mode == "off":
        return []
    findings = preflight(subjects)
    if mode == "strict":
        refuse(findings)
    print_findings(findings)
    return findings


def compare_checkpoints(job: Job, places: Sequence[str]) -> Path:
    """Record the confounds of models that have no scores yet; evaluations may be among them.

    Returns:
        The run directory; `run.json` has the findings.
    """
    names = [checkpoint_label(place) if is_checkpoint(place) else evaluation_name(place) for place in places]
    names = names if len(set(names)) == len(names) else list(places)
    subjects = [_subject(name, place) for name, place in zip(names, places, strict=True)]
    findings = tell(subjects, job.cfg.preflight)
    directory = job.directory("-vs-".join(name.strip("/").replace("/", "_") for name in names)[:200])
    identity = {"order": names, "preflight": [finding.row() for finding in findings]}
    inputs = {name: _hash(Path(place)) for name, place in zip(names, places, strict=True)}
    with open_run(directory, stage="compare", config=identity, inputs=inputs, argv=job.command) as run:
        run.results |= {"checkpoints": names}
    return directory


def _subject(name: str, place: str) -> Subject:
    if is_checkpoint(place):
        return read_subject(name, None, Path(place))
    [evaluation] = open_evaluations([place])
    return read_subject(name, evaluation.directory)


def _hash(place: Path) -> str:
    named = [place / name for name in (RECORD, "config.json", "adapter_config.json")] if place.is_dir() else [place]
    return sha256_file(next(path for path in named if path.is_file()))
