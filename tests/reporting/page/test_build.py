"""The interactive part as text: scripts of our own only, data that cannot end their element, answers that come back."""

import base64
import gzip
import hashlib
import json
import re

import pytest

from src.reporting.names import METHODS, SPARE_STYLES
from src.reporting.page.answers import LIMIT, packed_answers
from src.reporting.page.build import CHARTS, Interactive, chart_specs, interactive_part, safe_json, script
from src.reporting.page.marks import DASHES, SYMBOLS, marks_of
from src.reporting.view import study_view
from src.reporting.write import render_html
from tests.reporting.example import study
from tests.reporting.page_example import NASTY, PAIR, answer_rows, nasty_study
from tests.reporting.parsed_page import Page


@pytest.fixture
def no_library(monkeypatch):
    """Leave out the chart library, which takes seconds to bundle and is not ours to test."""
    monkeypatch.setattr("src.reporting.page.build.chart_library", lambda: "window.vegaEmbed = 0;")


def test_every_script_is_ours_and_named_by_the_policy(no_library, tmp_path):
    report = nasty_study()
    interactive = interactive_part(report, tmp_path)
    html = render_html(study_view(report), interactive)
    page = Page(html)
    assert [one["type"] for one in page.of("script")] == ["application/json"] * 6 + ["module"] * 2
    assert not page.of("img")
    bodies = re.findall(r'<script type="module">(.*?)</script>', html, flags=re.DOTALL)
    for body in bodies:
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in interactive.policy
    policy = next(one["content"] for one in page.of("meta") if "http-equiv" in one)
    assert policy == interactive.policy
    assert "unsafe-eval" not in policy
    assert policy.startswith("default-src 'none'")


def test_data_cannot_end_their_element():
    text = safe_json({"a": NASTY})
    assert "<" not in text
    assert json.loads(text) == {"a": NASTY}


def test_answers_come_back_as_they_were(tmp_path):
    [(benchmark, text)] = packed_answers(answer_rows()).items()
    block = json.loads(gzip.decompress(base64.b64decode(text)))
    assert benchmark == "pocket_functions"
    assert block["models"] == list(PAIR)
    assert block["left_out"] == 0
    first = block["items"][0]
    assert [answer["value"] for answer in first["answers"]] == [1.0, 0.0]  # items that differ come first
    texts = [text for item in block["items"] for answer in item["answers"] for text in answer.values()]
    texts += [item["prompt"] for item in block["items"]]
    assert not [text for text in map(str, texts) if re.search(r"<(?!/?span)", text)]
    assert "&lt;/script&gt;" in first["prompt"]
    assert first["answers"][1]["expected"] == "4"
    assert '<span class="k">def</span>' in first["answers"][0]["answer"]


def test_a_benchmark_with_many_problems_is_cut():
    [text] = packed_answers(answer_rows(items=LIMIT + 7)).values()
    block = json.loads(gzip.decompress(base64.b64decode(text)))
    assert len(block["items"]) == LIMIT
    assert block["left_out"] == 7


def test_large_answers_lie_beside_the_page(no_library, tmp_path, monkeypatch):
    monkeypatch.setattr("src.reporting.page.build.IN_PAGE", 100)
    blocks = interactive_part(nasty_study(), tmp_path).blocks
    assert json.loads(blocks["answers"]) == {"pocket_functions": "samples/0.js"}
    beside = (tmp_path / "samples" / "0.js").read_text()
    name, text = re.fullmatch(r'window\.receiveAnswers\("(\w+)", "([\w+/=]+)"\);\n', beside).groups()
    assert name == "pocket_functions"
    assert json.loads(gzip.decompress(base64.b64decode(text)))["items"]


def test_charts_are_valid_and_fetch_nothing():
    import vl_convert

    specs = {name: json.loads(text) for name, text in chart_specs().items()}
    assert set(specs) == set(CHARTS)
    assert '"url"' not in "".join(chart_specs().values())
    compiled = vl_convert.vegalite_to_vega(specs["sweep-spec"])
    names = {data["name"] for data in compiled["data"]}
    assert {"points", "bars", "levels"} <= names


def test_every_method_has_a_symbol_and_a_dash():
    assert {style.marker for style in METHODS.values()} | {marker for _, marker, _ in SPARE_STYLES} <= set(SYMBOLS)
    assert {style.line for style in METHODS.values()} <= set(DASHES)
    marks = marks_of(study().models)
    assert marks["pocket-mix"]["color"] == "var(--purple)"


def test_scripts_never_evaluate_text():
    """Only answers, which are escaped where they are packed, become HTML."""
    assert not re.search(r"\beval\b|new Function|document\.write|outerHTML|insertAdjacentHTML", script())
    assert script().count("innerHTML") == 1


def test_the_policy_changes_with_the_script():
    assert Interactive({}, "a", "b").policy != Interactive({}, "a", "c").policy
