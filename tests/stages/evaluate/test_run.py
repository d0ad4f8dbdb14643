import json
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest

from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.pocket.benchmarks import problems, summary_rows
from src.stages.evaluate.identity import file_label
from src.stages.evaluate.run import evaluate, show
from src.stages.job import compose_job
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl, write_jsonl

FEW = ["benchmarks.pocket_codegen.problems.count=6", "+benchmarks.pocket_codegen.limit=6"]
FEW += ["benchmarks.pocket_codesum.rows.count=6", "+benchmarks.pocket_codesum.limit=6", "sandbox.min_time_limit=0.1"]


def table(directory, name="scores"):
    return pd.read_csv(directory / f"{name}.csv").set_index(["benchmark", "metric"])


def test_a_checkpoint_is_scored_on_the_benchmarks_of_its_tasks(world, tmp_path):
    checkpoint = world / "train" / "pocket-mix-s0"
    overrides = [f"checkpoint={checkpoint}", "split=validation", *FEW, f"output_root={tmp_path}"]
    directory = evaluate(compose_job("evaluate", overrides))
    scores = table(directory)
    assert set(scores.index.get_level_values("benchmark")) == {"pocket_codegen", "pocket_codesum"}
    assert (scores["n"] == 6).all()
    assert len(read_jsonl(directory / "samples-pocket_codegen.jsonl")) == 6
    items = pd.read_csv(directory / "items.csv")
    means = items.groupby(["benchmark", "metric"])["value"].mean()
    assert means.to_dict() == pytest.approx(scores["value"].to_dict())


def test_the_record_says_how_answers_ended(world, tmp_path, capsys):
    checkpoint = world / "train" / "pocket-mix-s0"
    overrides = [f"checkpoint={checkpoint}", "split=validation", *FEW, f"output_root={tmp_path}"]
    directory = evaluate(compose_job("evaluate", [*overrides, "benchmarks.pocket_codegen.decoding.max_new_tokens=1"]))
    counts = json.loads((directory / "run.json").read_text())["results"]["finish"]
    assert counts["pocket_codegen"] == {"end": 0, "stop": 0, "length": 6, "context": 0}
    assert sum(counts["pocket_codesum"].values()) == 6
    capsys.readouterr()
    show(directory)
    printed = capsys.readouterr().out
    assert "pocket_codegen: 6 answers ended: 6 cut off by max_new_tokens. WARNING: 100.0% of the answers" in printed


def test_a_split_is_that_of_the_benchmarks_that_have_it(world, tmp_path):
    checkpoint = f"checkpoint={world / 'train' / 'pocket-mix-s0'}"
    options = [
        checkpoint,
        *FEW,
        f"output_root={tmp_path}",
        "split=validation",
        "+benchmarks.pocket_codegen.splits=[test]",
    ]
    scores = table(evaluate(compose_job("evaluate", options)))
    assert set(scores.index.get_level_values("benchmark")) == {"pocket_codesum"}
    with pytest.raises(UserError, match=r"split=validation: none of .* \(pocket_codegen, "):
        evaluate(compose_job("evaluate", [*options, "+benchmarks.pocket_codesum.splits=[test]"]))


def test_existing_samples_are_scored_by_running_them(tmp_path):
    chosen = problems("test", 4)
    rows = [{"task_id": p["task_id"], "solution": p["prompt"] + p["canonical_solution"]} for p in chosen[:3]] + [
        {"task_id": chosen[3]["task_id"], "solution": chosen[3]["prompt"] + "    return None\n"}
    ]
    write_jsonl(tmp_path / "samples.jsonl", rows)
    overrides = ["benchmark=pocket_codegen", "benchmark.problems.count=4", f"samples={tmp_path}/samples.jsonl"]
    directory = evaluate(compose_job("evaluate", [*overrides, f"output_root={tmp_path}", "sandbox.min_time_limit=0.1"]))
    scores = table(directory).loc["pocket_codegen"]
    assert scores.loc["pass@1", "value"] == 0.75
    expected = binomtest(3, 4).proportion_ci(method="wilson")
    assert list(scores.loc["pass@1", ["low", "high"]]) == pytest.approx([expected.low, expected.high])
    verdicts = read_jsonl(directory / "verdicts-pocket_codegen.jsonl")
    assert [row["base"] for row in verdicts] == ["pass", "pass", "pass", "fail"]
    details = read_jsonl(directory / "details-pocket_codegen.jsonl")
    assert [(row["task_id"], row["passed"]) for row in details] == [(p["task_id"], p is not chosen[3]) for p in chosen]
    assert (details[3]["prompt"], details[3]["got"]) == (chosen[3]["prompt"], "None")
    assert details[3]["answer"].strip() == rows[3]["solution"].strip()
    assert details[3]["expected"] not in ("", "None")


def test_existing_summaries_are_scored(tmp_path):
    rows = summary_rows("test", 3)
    (tmp_path / "references.txt").write_text("".join(f"{i}\t{row['docstring']}\n" for i, row in enumerate(rows)))
    (tmp_path / "predictions.txt").write_text("".join(f"{i}\t{row['docstring']}\n" for i, row in enumerate(rows)))
    overrides = [
        "benchmark=codexglue",
        f"predictions={tmp_path}/predictions.txt",
        f"references={tmp_path}/references.txt",
    ]
    directory = evaluate(compose_job("evaluate", [*overrides, f"output_root={tmp_path}"]))
    scores = table(directory).loc["codexglue"]
    assert scores.loc["rouge_l", "value"] == 1.0
    details = read_jsonl(directory / "details-codexglue.jsonl")
    assert [(row["task_id"], row["answer"] == row["expected"]) for row in details] == [(str(i), True) for i in range(3)]
    assert scores.loc["bleu4_codexglue", "value"] == pytest.approx(1.0)
    assert list(scores.loc["bleu4_corpus", ["value", "low", "high", "n"]]) == pytest.approx([1, 1, 1, 3])


def test_intervals_draw_repositories(tmp_path, capsys):
    """Two repositories, one summarized rightly: a draw of both has 1/2, of one twice 0 or 1."""
    rows = [{**row, "repo": f"owner/{n % 2}"} for n, row in enumerate(summary_rows("test", 20))]
    answers = [
        {"task_id": f"codexglue/{n}", "completion": row["docstring"] if n % 2 else "xyz"} for n, row in enumerate(rows)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_jsonl(tmp_path / "answers.jsonl", answers)
    overrides = ["benchmark=codexglue", f"benchmark.rows={tmp_path}/rows.jsonl", f"samples={tmp_path}/answers.jsonl"]
    found = {}
    for cluster in ("auto", "null"):
        place = f"output={tmp_path}/{cluster}"
        directory = evaluate(compose_job("evaluate", [*overrides, f"benchmark.cluster={cluster}", place]))
        found[cluster] = table(directory).loc["codexglue"].loc[["rouge_l", "bleu4_corpus"]]
        show(directory)
    assert list(found["auto"].loc["rouge_l", ["value", "low", "high", "n"]]) == [0.5, 0, 1, 20]
    assert 0.2 < found["null"].loc["rouge_l", "low"] < found["null"].loc["rouge_l", "high"] < 0.8
    assert found["auto"].loc["bleu4_corpus", "high"] > found["null"].loc["bleu4_corpus", "high"]
    assert capsys.readouterr().out.count("codexglue: intervals draw the 2 clusters of the 20 rows") == 1


def test_the_metrics_are_defined_in_the_record_and_beside_the_scores(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("0\tadd two numbers\n")
    overrides = ["benchmark=codexglue", f"predictions={tmp_path}/a.txt", f"references={tmp_path}/a.txt"]
    directory = evaluate(compose_job("evaluate", [*overrides, f"output_root={tmp_path}"]))
    definitions = json.loads((directory / "run.json").read_text())["results"]["definitions"]["codexglue"]
    assert {"bleu4_paper", "chrf++_corpus"} <= set(definitions)
    assert all(len(text) > 20 for text in definitions.values())
    show(directory)
    assert "bleu4_paper: mean unsmoothed sentence BLEU-4" in capsys.readouterr().out


def contaminated(tmp_path, *overrides):
    """Four problems, of which training rows hold the first two; answered rightly, wrongly, wrongly, rightly."""
    chosen = problems("test", 4)
    right = [True, False, False, True]
    rows = [
        {"task_id": p["task_id"], "completion": p["canonical_solution"] if well else "    return None\n"}
        for p, well in zip(chosen, right, strict=True)
    ]
    write_jsonl(tmp_path / "samples.jsonl", rows)
    training = [{"id": n, "code": p["prompt"] + p["canonical_solution"]} for n, p in enumerate(chosen[:3])]
    write_jsonl(tmp_path / "training.jsonl", training)
    files = [f"samples={tmp_path}/samples.jsonl", f"contamination={tmp_path}/training.jsonl"]
    few = ["benchmark=pocket_codegen", "benchmark.problems.count=4", "sandbox.min_time_limit=0.1"]
    return [*few, *files, f"output_root={tmp_path}", "contamination_keep={id:[0,1]}", *overrides]


def test_contamination_is_written_with_the_scores_of_what_is_clean(tmp_path, capsys):
    directory = evaluate(compose_job("evaluate", contaminated(tmp_path)))
    found = pd.read_csv(directory / "contamination.csv")
    assert list(found["verdict"]) == ["dirty", "dirty", "clean", "clean"]
    assert list(found["benchmark"]) == ["pocket_codegen"] * 4
    clean = pd.read_csv(directory / "clean_scores.csv").set_index("metric")
    columns = ["all_n", "all_mean", "clean_n", "clean_mean"]
    assert list(clean.loc["pass@1", columns]) == [4, 0.5, 2, 0.5]
    assert list(clean.loc["pass@1+", columns]) == [4, 0.5, 2, 0.5]
    assert "-vs-training-" in directory.name
    show(directory)
    printed = capsys.readouterr().out
    assert "training data against pocket_codegen: 2 clean, 0 between, 2 dirty of 4 items" in printed
    assert "clean items" in printed


def test_contamination_of_a_benchmark_that_nobody_answered(tmp_path, capsys):
    overrides = [override for override in contaminated(tmp_path) if not override.startswith("samples=")]
    directory = evaluate(compose_job("evaluate", overrides))
    assert directory.name.startswith("contamination-pocket_codegen-")
    assert list(pd.read_csv(directory / "contamination.csv")["verdict"]) == ["dirty", "dirty", "clean", "clean"]
    assert not [name for name in ("items", "scores", "clean_scores") if (directory / f"{name}.csv").exists()]
    show(directory)
    assert "2 clean, 0 between, 2 dirty of 4 items" in capsys.readouterr().out


def test_other_training_data_are_another_run(tmp_path):
    overrides = contaminated(tmp_path, f"output={tmp_path}/run")
    evaluate(compose_job("evaluate", overrides))
    write_jsonl(tmp_path / "training.jsonl", [{"id": 0, "code": "x"}])
    with pytest.raises(UserError, match=r"holds another run.*contamination\.0"):
        evaluate(compose_job("evaluate", overrides))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "one of checkpoint=DIR, samples=FILE or predictions=FILE, got none"),
        (["checkpoint=/nowhere"], "checkpoint=/nowhere: no such directory"),
        (["samples=/nowhere.jsonl", "benchmark=pocket_codegen"], "no such file: samples=/nowhere.jsonl"),
        (["samples=a.jsonl"], "existing answers need benchmark=NAME"),
        (["predictions=a.txt", "benchmark=codexglue"], "references=FILE must be given"),
        (["samples=a.jsonl", "benchmark=pocket_codegen", "contamination_keep={id:1}"], "which is not given"),
        (
            ["predictions=a", "references=b", "benchmark=codexglue", "contamination=c.jsonl"],
            "give samples=FILE instead of predictions=",
        ),
        (["checkpoint=x", "split=train"], "split=train: expected one of test, validation"),
    ],
)
def test_bad_input_is_said_in_one_line(overrides, words):
    with pytest.raises(UserError, match=words):
        evaluate(compose_job("evaluate", overrides))


# --- everything that decides a score is part of the run's identity ----------------------------------------------------
def test_other_problems_under_the_same_name_are_another_run(tmp_path, monkeypatch):
    """The file behind an environment variable, or behind the same path, may have changed."""
    problem = {
        "task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n",
        "base_input": [[1]], "plus_input": [[2]], "atol": 0,
    }  # fmt: skip
    write_jsonl(tmp_path / "answers.jsonl", [{"task_id": "HumanEval/0", "completion": "    return abs(x)\n"}])
    command = ["benchmark=humaneval", f"samples={tmp_path}/answers.jsonl", f"output={tmp_path}/run"]

    def plus_score(path, **change):
        write_jsonl(tmp_path / path, [problem | change])
        monkeypatch.setenv("HUMANEVAL_OVERRIDE_PATH", str(tmp_path / path))
        return table(evaluate(compose_job("evaluate", command))).loc[("humaneval", "pass@1+"), "value"]

    assert plus_score("old.jsonl") == 1.0
    assert plus_score("copy.jsonl") == 1.0  # equal content elsewhere is the same run
    for path in ("old.jsonl", "new.jsonl"):
        with pytest.raises(UserError, match=r"holds another run.*inputs\.items\.humaneval"):
            plus_score(path, plus_input=[[-2]])


def test_other_references_of_a_checkpoint_are_another_run(world, tmp_path):
    rows = [{"code": "def f(x):\n    return x", "docstring": "Return x."}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    options = [f"checkpoint={world / 'train' / 'pocket-mix-s0'}", f"output={tmp_path}/run", "benchmark=codexglue"]
    options += [
        f"benchmark.rows={tmp_path}/rows.jsonl",
        "benchmark.decoding.max_new_tokens=4",
        "benchmark.wordnet=null",
    ]
    evaluate(compose_job("evaluate", options))
    write_jsonl(tmp_path / "rows.jsonl", [rows[0] | {"docstring": "Give x."}])
    with pytest.raises(UserError, match=r"holds another run.*inputs\.items\.codexglue"):
        evaluate(compose_job("evaluate", options))


def test_another_wordnet_or_rule_is_another_run(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("0\tadd two numbers\n")
    overrides = ["benchmark=codexglue", f"predictions={tmp_path}/a.txt", f"references={tmp_path}/a.txt"]
    job = compose_job("evaluate", [*overrides, f"output={tmp_path}/run"])
    evaluate(job)
    monkeypatch.setattr(SummaryBenchmark, "rules", lambda self: {"wordnet": "another"})
    with pytest.raises(UserError, match=r"holds another run.*rules\.codexglue"):
        evaluate(job)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("outputs/Qwen--Qwen2.5-Coder-1.5B_vllm.jsonl", "Qwen--Qwen2.5-Coder-1.5B_vllm"),
        ("outputs/Qwen--Qwen2.5-Coder-7B_vllm.jsonl.gz", "Qwen--Qwen2.5-Coder-7B_vllm"),
        ("runs/pocket-mix-s0-test/samples-humaneval.jsonl", "pocket-mix-s0-test-samples-humaneval"),
        ("mine/samples.jsonl", "mine-samples"),
        ("mine/v1.0", "v1.0"),
        ("mine/test.output", "test"),
    ],
)
def test_names_of_files_keep_their_dots(path, label):
    assert file_label(Path(path)) == label
