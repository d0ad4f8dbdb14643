"""The interactive part of a report's page: data, charts and scripts, none of them fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.reporting.page.answers import IN_PAGE, packed_answers, sample_script
from src.reporting.page.data import page_data
from src.reporting.page.heat import heat_data
from src.reporting.page.library import chart_library
from src.reporting.study_report import StudyReport
from src.utils.files import write_text

HERE = Path(__file__).parent
SCRIPTS = ("state", "table", "controls", "charts", "answers", "heat", "start")  # in this order, as one module
CHARTS = {"plane-spec": "plane.vg.json", "sweep-spec": "sweep.vl.json", "heat-spec": "heat.vl.json"}
SAMPLES = "samples"  # directory beside the page, for answers that are too large for it


@dataclass(frozen=True)
class Interactive:
    """What a page needs besides its text.

    Attributes:
        blocks: Id of an element -> JSON that is safe inside `<script type="application/json">`.
        script: Our scripts.
        library: The chart library.
    """

    blocks: Mapping[str, str]
    script: str
    library: str

    @property
    def policy(self) -> str:
        """The content security policy: no script runs but these two and the files of answers beside the page."""
        hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (self.script, self.library))
        return f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes} 'self'; base-uri 'none'"


def interactive_part(report: StudyReport, directory: Path) -> Interactive:
    """The interactive part of a study's report.

    Args:
        report: The study.
        directory: Of the page; answers that are too large for it are written to `samples/` there.
    """
    answers = packed_answers(report.answers)
    inside = sum(map(len, answers.values())) <= IN_PAGE
    for place, (benchmark, packed) in enumerate(answers.items()):
        if not inside:
            write_text(directory / SAMPLES / f"{place}.js", sample_script(benchmark, packed))
    places = {
        benchmark: packed if inside else f"{SAMPLES}/{place}.js"
        for place, (benchmark, packed) in enumerate(answers.items())
    }
    return interactive_page(page_data(report), places, heat_data(report))


def interactive_page(
    scores: Mapping[str, Any], answers: Mapping[str, str], heat: Mapping[str, Any] | None = None
) -> Interactive:
    """The interactive part of any page.

    Args:
        scores: As of `page_data`.
        answers: Benchmark -> packed answers, or the file beside the page that has them.
        heat: As of `heat_data`; None: no heat maps.
    """
    found = {"scores": scores, "answers": answers, "heat": heat or {"maps": []}}
    blocks = {name: safe_json(value) for name, value in found.items()}
    return Interactive(blocks | chart_specs(), script(), library())


def safe_json(value: Any) -> str:
    """JSON that cannot end the element that holds it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def chart_specs() -> dict[str, str]:
    """Id -> chart."""
    found = {name: json.loads((HERE / "charts" / file).read_text(encoding="utf-8")) for name, file in CHARTS.items()}
    return {name: safe_json(chart) for name, chart in found.items()}


@cache
def script() -> str:
    """Our scripts as one."""
    return "\n".join((HERE / "scripts" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)


def library() -> str:
    """The chart library; a script element would end at its end tag, wherever that stands."""
    return chart_library().replace("</script", "<\\/script")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
