"""Results that other tools read, written and read back."""

import json

import pandas as pd
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from src.pocket.benchmarks import problems, summary_rows
from src.stages.evaluate.run import evaluate
from src.stages.job import compose_job
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl, write_jsonl
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

FORMATS = "formats=[evalplus,lm_eval,model_index]"


@pytest.mark.usefixtures("sandbox")
def test_programs_in_every_format_and_back(tmp_path, capsys):
    chosen = problems("test", 2)
    right = [p["prompt"] + p["canonical_solution"] for p in chosen]
    wrong = chosen[1]["prompt"] + "    return None\n"
    rows = [{"task_id": chosen[0]["task_id"], "solution": right[0]}]
    rows += [{"task_id": chosen[1]["task_id"], "solution": text} for text in (wrong, f"Here:\n```\n{right[1]}```\n")]
    rows += [rows[0]]
    write_jsonl(tmp_path / "answers.jsonl", rows)
    few = ["benchmark=pocket_codegen", "benchmark.problems.count=2", "sandbox.min_time_limit=0.1"]
    few += [f"output_root={tmp_path}/runs"]
    directory = evaluate(compose_job("evaluate", [*few, f"samples={tmp_path}/answers.jsonl", FORMATS]))

    results = json.loads((directory / "eval_results-pocket_codegen.json").read_text())
    assert set(results) == {"date", "hash", "eval", "pass_at_k"}
    [_, second] = results["eval"].values()
    assert [(row["base_status"], row["plus_status"]) for row in second] == [("fail", "fail"), ("pass", "pass")]
    assert second[0]["base_fail_tests"] == [chosen[1]["base_input"][0]]
    assert (second[0]["plus_fail_tests"], second[1]["base_fail_tests"]) == ([], [])
    assert second[1]["solution"] == right[1]  # without its fence, so that EvalPlus can run it
    assert results["pass_at_k"] == {"base": {"pass@1": 0.75}, "plus": {"pass@1": 0.75}}

    samples = read_jsonl(directory / "lm_eval-samples_pocket_codegen.jsonl")
    assert [row["doc"]["task_id"] for row in samples] == [p["task_id"] for p in chosen]
    assert samples[1]["resps"] == [[wrong, rows[2]["solution"]]]
    assert (samples[1]["pass@1"], samples[1]["metrics"]) == (0.5, ["pass@1", "pass@1+"])
    assert "plus_input" not in samples[0]["doc"]

    [model] = yaml.safe_load((directory / "model-index.yml").read_text())["model-index"]
    _, found = model_index_to_eval_results([model])
    scores = pd.read_csv(directory / "scores.csv")
    assert [(r.metric_type, r.metric_value, r.dataset_split) for r in found] == [
        (metric, value, "test") for metric, value in zip(scores["metric"], scores["value"], strict=True)
    ]
    again = evaluate(compose_job("evaluate", [*few, f"samples={directory}/eval_results-pocket_codegen.json"]))
    assert list(pd.read_csv(again / "scores.csv")["value"]) == list(scores["value"])


def test_summaries_in_the_formats_that_hold_them(tmp_path):
    rows = summary_rows("test", 2)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    answers = [{"task_id": f"codexglue/{number}", "completion": "Add."} for number in range(2)]
    write_jsonl(tmp_path / "answers.jsonl", answers)
    options = ["benchmark=codexglue", f"benchmark.rows={tmp_path}/rows.jsonl", f"samples={tmp_path}/answers.jsonl"]
    directory = evaluate(
        compose_job("evaluate", [*options, FORMATS, f"output_root={tmp_path}", "benchmark.wordnet=null"])
    )
    samples = read_jsonl(directory / "lm_eval-samples_codexglue.jsonl")
    assert [(row["target"], row["filtered_resps"]) for row in samples] == [(row["docstring"], ["Add."]) for row in rows]
    assert not list(directory.glob("eval_results*"))
    assert (directory / "model-index.yml").is_file()


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(UserError, match="formats: expected some of evalplus, lm_eval, model_index, got helm"):
        evaluate(compose_job("evaluate", ["benchmark=codexglue", "samples=a.jsonl", "formats=[helm]"]))
    with pytest.raises(UserError, match="only model_index can be written"):
        files = ["predictions=a", "references=b", "benchmark=codexglue"]
        evaluate(compose_job("evaluate", [*files, "formats=[lm_eval]"]))
