"""The benchmark nodes of conf/, their rows, and their prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.evaluation.benchmarks.base import check_covered, code_to_text_rows, evalplus_problems, read_rows
from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.requests import render
from src.evaluation.generators.samples import Sample
from src.models import load_tokenizer
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / ".." / "shared" / "data"
HUMANEVAL = DATA / "humaneval" / "HumanEvalPlus-v0.1.10.jsonl.gz"
MBPP = DATA / "mbpp" / "MbppPlus-v0.2.0.jsonl.gz"


def node(name: str, **changes: Any) -> Any:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        found = compose(None, overrides=[f"+benchmark={name}"]).benchmark
    OmegaConf.set_struct(found, False)
    return instantiate(OmegaConf.merge(found, changes), _convert_="all")


def shared(path: Path) -> str:
    if not path.is_file():
        pytest.skip(f"benchmark data are not at {path}")
    return str(path)


FILES = sorted((ROOT / "conf" / "benchmark").glob("[!_]*.yaml"))
LOSSES = {"nll"}  # measured per task on training rows, up to the length of a model: tests/stages/evaluate


@pytest.mark.parametrize("path", [path for path in FILES if path.stem not in LOSSES], ids=lambda path: path.stem)
def test_every_node_instantiates_under_its_own_name(path: Path) -> None:
    benchmark = node(path.stem)
    assert benchmark.name == path.stem
    assert benchmark.task in ("codegen", "codesum", "repair")


@pytest.mark.parametrize(
    ("dataset", "family"),
    [
        ("humaneval", "qwen2.5-7b-instruct"),
        ("mbpp", "deepseek-coder-6.7b-instruct"),
        pytest.param("humaneval", "deepseek-coder-6.7b-instruct", marks=pytest.mark.slow),
        pytest.param("mbpp", "qwen2.5-7b-instruct", marks=pytest.mark.slow),
    ],
)
def test_prompts_equal_evalplus_to_the_byte(dataset: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalplus.provider.utility import EOS, make_raw_chat_prompt

    monkeypatch.setenv(f"{dataset.upper()}_OVERRIDE_PATH", shared(HUMANEVAL if dataset == "humaneval" else MBPP))
    benchmark, tokenizer = node(dataset), load_tokenizer(DATA / "tokenizers" / family)
    instruction = (
        "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
    )
    response = (
        "Below is a Python script with a self-contained function that solves the problem and passes corresponding"
    )
    response += " tests:"
    for problem, prompt in zip(benchmark.problems("test"), benchmark.prompts("test"), strict=True):
        asked = problem["prompt"].strip() + "\n"  # what evalplus.codegen passes on
        assert render(prompt, tokenizer) == make_raw_chat_prompt(asked, instruction, response, tokenizer)
    assert benchmark.decoding.stop == (*EOS, "\n```\n")


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("mbpp", "test", 378),
        ("mbpp_clean", "test", 270),
        ("mbpp_held_out", "test", 224),
    ],
)
def test_splits_of_mbpp(name: str, split: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBPP_OVERRIDE_PATH", shared(MBPP))
    assert len(node(name).prompts(split)) == count


def test_no_validation_problem_is_a_test_problem_of_the_same_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coefficients are chosen on problems outside every test set; `mbpp` tests all of MBPP+ and has none."""
    monkeypatch.setenv("MBPP_OVERRIDE_PATH", shared(MBPP))
    with pytest.raises(UserError, match="split=validation: benchmark mbpp has only test"):
        node("mbpp").prompts("validation")
    for name in ("mbpp", "mbpp_clean", "mbpp_held_out", "mbpp_base", "humaneval", "humaneval_base"):
        assert node(name).splits == ("test",)
    assert (node("kodcode").splits, node("kodcode").limit) == (("validation",), 500)


def test_raw_prompts_are_stripped_as_evalplus_does(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"task_id": "HumanEval/0", "prompt": "\n\ndef f():\n    "}])
    prompt = node("humaneval", problems=str(tmp_path / "p.jsonl"), chat=False).prompts("test")[0]
    assert (prompt.text, prompt.chat) == ("def f():\n", False)


def test_a_file_may_be_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{"task_id": "My/0", "prompt": "p"}, {"task_id": "My/1", "prompt": "q"}])
    assert [prompt.id for prompt in node("humaneval", problems=str(tmp_path / "{split}.jsonl")).prompts("test")] == [
        "My/0",
        "My/1",
    ]


def test_absent_data_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUMANEVAL_OVERRIDE_PATH", raising=False)
    with pytest.raises(UserError, match=r"download HumanEvalPlus.*benchmark\.problems=FILE"):
        node("humaneval").prompts("test")
    with pytest.raises(UserError, match=r"split=validation: benchmark humaneval has only test"):
        node("humaneval").prompts("validation")
    with pytest.raises(UserError, match=r"no such file: data/codexglue/python_test\*\.jsonl\*"):
        node("codexglue").prompts("test")


def test_rows_are_read_in_the_order_of_their_files(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_jsonl(tmp_path / f"{name}_valid.jsonl", [{"row": name}])
    paths = [str(tmp_path / "b_{split}.jsonl"), str(tmp_path / "a_{split}.jsonl")]
    assert [row["row"] for row in read_rows(paths, "valid", "key")] == ["b", "a"]
    (tmp_path / "c_valid.jsonl").touch()
    with pytest.raises(UserError, match="key has no rows for split=valid"):
        read_rows(str(tmp_path / "c_{split}.jsonl"), "valid", "key")


def test_a_limit_is_spread_over_all_rows_and_may_differ_by_split() -> None:
    rows = [{"n": n} for n in range(10)]
    assert [row["n"] for row in read_rows(lambda split: rows, "test", "key", 4)] == [0, 2, 5, 7]
    assert [row["n"] for row in read_rows(lambda split: rows, "validation", "key", {"validation": 2})] == [0, 5]
    assert read_rows(lambda split: rows, "test", "key", {"validation": 2}) == rows
    assert read_rows(lambda split: rows, "test", "key", 10) == rows


def test_code_to_text_rows_of_several_languages(tmp_path: Path) -> None:
    for name in ("python_test_0.jsonl", "java_test.jsonl", "python_validation.jsonl"):
        write_jsonl(tmp_path / name, [{"name": name}])
    rows = code_to_text_rows("test", ["python", "java"], [f"{tmp_path}/{{language}}_{{split}}*.jsonl"])
    assert [row["name"] for row in rows] == ["python_test_0.jsonl", "java_test.jsonl"]
    with pytest.raises(UserError, match=r"benchmark.rows.data: no such file: data/codexglue/ruby_test\*"):
        code_to_text_rows("test", ["ruby"])


def test_ranges_choose_tasks(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"task_id": f"Mbpp/{number}"}) + "\n" for number in range(10)))
    rows = evalplus_problems("test", "mbpp", str(path), {"test": [[0, 1], [8, 20]]})
    assert [row["task_id"] for row in rows] == ["Mbpp/0", "Mbpp/1", "Mbpp/8", "Mbpp/9"]


def test_samples_must_cover_the_items() -> None:
    check_covered(["a", "b"], [Sample("b", "", ""), Sample("a", "", "")], "n")
    with pytest.raises(UserError, match="n: 1 of 2 items have no sample; the first is b"):
        check_covered(["a", "b"], [Sample("a", "", "")], "n")
    with pytest.raises(UserError, match="n: 1 samples belong to no item of the benchmark; the first is c"):
        check_covered(["a"], [Sample("a", "", ""), Sample("c", "", "")], "n")


def test_pocket_benchmarks_have_prompts_for_both_splits() -> None:
    for name, kind in (("pocket_codegen", CodeBenchmark), ("pocket_codesum", SummaryBenchmark)):
        benchmark = node(name)
        assert isinstance(benchmark, kind)
        hashes = set()
        for split in ("validation", "test"):
            prompts = benchmark.prompts(split)
            assert len(prompts) == len({prompt.id for prompt in prompts}) == 150
            assert benchmark.prompts(split) == prompts
            hashes.add(benchmark.content_hash(split))
        assert len(hashes) == 2
