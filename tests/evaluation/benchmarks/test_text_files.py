from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.benchmarks.text_files import Side, read_pair, read_texts
from src.evaluation.generators.samples import Decoding
from src.evaluation.statistics.scores import Score, by_metric
from src.evaluation.text.bleu import bleu4_codexglue
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl

METRICS = ("rouge_l", "bleu4_codexglue")


def scored(predictions: Path, references: Path) -> list[Score]:
    benchmark = SummaryBenchmark("s", None, Decoding(), metrics=METRICS, wordnet=None)
    return benchmark.score_texts(*read_pair(predictions, references))


def test_files_of_lines_are_scored(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("0\tadd one to x\n1\treturn it all\n")
    (tmp_path / "output").write_text("1\treturn it all\n0\tadd one to x")  # another order, no final newline
    table = by_metric(scored(tmp_path / "output", tmp_path / "gold"))
    assert table["s", "rouge_l"] == {"0": 1.0, "1": 1.0}


def test_files_of_json_lines_are_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": 7, "prediction": "x"}, {"id": 8, "prediction": ""}])
    assert read_texts(tmp_path / "a.jsonl", "prediction").by_id == {"7": "x", "8": ""}
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write('{"docstring": "d"}\n{"docstring": "e"}\n')
    assert read_texts(tmp_path / "b.jsonl.gz").by_id == {"0": "d", "1": "e"}


def test_an_empty_text_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("0\t\n\n1\ta\tb\n")
    assert read_texts(tmp_path / "t").by_id == {"0": "", "1": "a\tb"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 no tab\n", r"line 1: expected id<TAB>text, got '0 no tab'"),
        ("0\ta\n0\tb\n", "unique ids, but 0 occurs twice"),
        ("", "is empty"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(UserError, match=message):
        read_texts(tmp_path / "t")


def test_absent_and_textless_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_texts(tmp_path / "absent")
    write_jsonl(tmp_path / "a.jsonl", [{"id": 1, "words": "x"}])
    with pytest.raises(UserError, match=r"row 1: expected one of reference.*got \['id', 'words'\]"):
        read_texts(tmp_path / "a.jsonl")


def test_ids_must_match(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("0\ta\n1\tb\n")
    (tmp_path / "output").write_text("0\ta\n")
    with pytest.raises(UserError, match="1 of 2 items have no sample; the first is 1"):
        scored(tmp_path / "output", tmp_path / "gold")


# --- CodeXGLUE's evaluator --------------------
def test_lines_that_codexglues_evaluator_accepts_have_its_values(tmp_path: Path) -> None:
    """Its evaluator reads predictions by lines (also at a lone CR), strips them, and takes the first two columns."""
    (tmp_path / "gold").write_text("0\tadd one\n1\treturn it all\n2\tempty it\n3\tlast\n")
    (tmp_path / "output").write_bytes(b"\xef\xbb\xbf0\tadd one\rto x\r\n1\treturn it all\tand more\n2\n3\tlast\n")
    predictions, references = read_pair(tmp_path / "output", tmp_path / "gold")
    assert predictions == {"0": "add one", "1": "return it all", "2": "", "3": "last"}
    table = by_metric(scored(tmp_path / "output", tmp_path / "gold"))
    # as computed by evaluator.py: 100, 100, 100 * exp(-2) for no tokens against two, 100
    assert table["s", "bleu4_codexglue"] == pytest.approx({"0": 1, "1": 1, "2": 0.1353352832366127, "3": 1})
    assert references["2"] == "empty it"


def test_an_empty_prediction_has_the_evaluators_value() -> None:
    assert bleu4_codexglue("", "a b c") == pytest.approx(0.049787068367863944)
    assert bleu4_codexglue(" ", "a") == pytest.approx(0.36787944117144233)


def test_urls_are_ids(tmp_path: Path) -> None:
    url = "https://github.com/a/b/blob/c/d.py#L1-L2"
    write_jsonl(tmp_path / "gold.jsonl", [{"url": url, "docstring": "Add.", "code": "x"}])
    (tmp_path / "output").write_text(f"{url}\tAdd.\n")
    assert by_metric(scored(tmp_path / "output", tmp_path / "gold.jsonl"))["s", "rouge_l"] == {url: 1.0}


def test_a_text_for_an_unknown_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("0\ta\n")
    (tmp_path / "output").write_text("0\ta\n7\tb\n")
    with pytest.raises(UserError, match="1 samples belong to no item of the benchmark; the first is 7"):
        scored(tmp_path / "output", tmp_path / "gold")


# --- rows with fields for both sides --------------------
ROW_FORMS = {
    "ours": {"prediction": "got", "reference": "wanted"},
    "llama_factory": {"prompt": "p", "predict": "got", "label": "wanted"},
    "lm_eval": {"doc_id": 3, "doc": {}, "resps": [["got "]], "filtered_resps": ["got"], "target": "wanted"},
    "sample_of_a_row": {"completion": "got", "docstring": "wanted"},
    "text": {"text": "got", "reference": "wanted"},
}


@pytest.mark.parametrize("form", ROW_FORMS)
def test_each_side_of_one_file_has_its_own_field(form: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "both.jsonl", [ROW_FORMS[form]])
    predictions, references = read_pair(tmp_path / "both.jsonl", tmp_path / "both.jsonl")
    assert (list(predictions.values()), list(references.values())) == (["got"], ["wanted"])
    assert list(by_metric(scored(tmp_path / "both.jsonl", tmp_path / "both.jsonl"))["s", "rouge_l"].values()) == [0.0]


def test_lists_of_bigcode_evaluation_harness(tmp_path: Path) -> None:
    (tmp_path / "generations.json").write_text(json.dumps([["first", "second"], ["third"]]))
    (tmp_path / "references.json").write_text(json.dumps(["one", "two"]))
    assert read_pair(tmp_path / "generations.json", tmp_path / "references.json") == (
        {"0": "first", "1": "third"},
        {"0": "one", "1": "two"},
    )


def test_named_fields(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "both.jsonl", [{"mine": "a", "theirs": "b"}])
    path = tmp_path / "both.jsonl"
    assert read_pair(path, path, "mine", "theirs") == ({"0": "a"}, {"0": "b"})
    with pytest.raises(UserError, match=r"row 1: expected the prediction in `hers`.*set prediction_field="):
        read_pair(path, path, "hers", "theirs")


@pytest.mark.parametrize(
    ("row", "side", "message"),
    [
        (
            {"docstring": "a", "summary": "b"},
            "prediction",
            "docstring and summary could both be the prediction; set pre",
        ),
        ({"prediction": "a", "completion": "b"}, "prediction", "could both be the prediction"),
        ({"label": "a", "target": "b"}, "reference", "label and target could both be the reference; set reference_fie"),
        ({"prediction": "a"}, "reference", "expected one of reference, label, target"),
        ({"reference": "a"}, "prediction", "expected one of prediction, predict"),
        ({"label": 3}, "reference", "field label: expected a text, got 3"),
        ({"filtered_resps": []}, "prediction", r"field filtered_resps: expected a text, got \[\]"),
    ],
)
def test_what_could_be_either_is_refused(tmp_path: Path, row: dict[str, Any], side: Side, message: str) -> None:
    write_jsonl(tmp_path / "a.jsonl", [row])
    with pytest.raises(UserError, match=message):
        read_texts(tmp_path / "a.jsonl", side)


def test_a_text_is_never_compared_with_itself(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}])
    with pytest.raises(UserError, match="are the same field `text` of one file; set prediction_field="):
        read_pair(tmp_path / "a.jsonl", tmp_path / "a.jsonl")


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UserError, match="expected a list of texts or rows, got dict"):
        read_texts(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[")
    with pytest.raises(UserError, match="is not JSON"):
        read_texts(tmp_path / "b.json")
    (tmp_path / "c.txt").write_text("0\ta\n")
    with pytest.raises(UserError, match=r"reference_field=x: .* has lines of id<TAB>text"):
        read_texts(tmp_path / "c.txt", field="x")
