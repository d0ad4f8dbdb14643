from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.generators.samples import read_samples
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl


def test_evalplus_results(tmp_path: Path) -> None:
    rows = [{"task_id": "P/0", "solution": text, "base_status": "pass", "plus_status": "fail"} for text in ("a", "b")]
    content = {"date": "", "hash": "", "eval": {"P/0": rows, "P/1": [{"solution": "c"}]}, "pass_at_k": {}}
    (tmp_path / "eval_results.json").write_text(json.dumps(content))
    with gzip.open(tmp_path / "eval_results.json.gz", "wt") as file:
        json.dump(content, file)
    for name in ("eval_results.json", "eval_results.json.gz"):
        samples = read_samples(tmp_path / name)
        assert [(s.task_id, s.index, s.completion, s.whole, s.generated) for s in samples] == [
            ("P/0", 0, "a", True, False), ("P/0", 1, "b", True, False), ("P/1", 0, "c", True, False)
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"eval": {"P/0": {"nfiles": 1, "base": [["success", []]]}}},
            "P/0: expected a list of programs with `solution`",
        ),
        ([], "expected EvalPlus's eval_results.json, an object with `eval`"),
        ({"results": {}}, "an object with `eval`"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_samples(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read_samples(tmp_path / "b.json")


def test_lm_eval_samples(tmp_path: Path) -> None:
    rows = [
        {"doc_id": 0, "doc": {"task_id": "HumanEval/0"}, "resps": [["a", "b"]], "filtered_resps": [["prompt a"]]},
        {"doc_id": 1, "doc": {"task_id": 2}, "resps": [["c"]], "filtered_resps": ["c"], "target": "assert f() == 1"},
    ]
    write_jsonl(tmp_path / "samples_humaneval_2025-01-01.jsonl", rows)
    samples = read_samples(tmp_path / "samples_humaneval_2025-01-01.jsonl")
    assert [(s.task_id, s.index, s.completion, s.whole) for s in samples] == [
        ("HumanEval/0", 0, "a", False), ("HumanEval/0", 1, "b", False), ("Mbpp/2", 0, "c", False)
    ]  # fmt: skip
    write_jsonl(tmp_path / "other.jsonl", [{"doc": {"question": "x"}, "resps": [["c"]]}])
    with pytest.raises(UserError, match=r"row 1: expected `task_id` and"):
        read_samples(tmp_path / "other.jsonl")
