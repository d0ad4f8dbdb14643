"""The study world, offline: sources and benchmarks in their standard places, decontamination, presets, real rows."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from src.models import load_model
from src.stages.job import compose_job
from src.stages.study.run import study
from src.stages.train.decontamination import Decontamination
from src.stages.train.rows import task_sources
from src.stages.train.run import train
from src.utils.errors import UserError
from tests.data.shared import needs_shared, shared
from tests.stages.study_world import TOKENIZERS, lay_out, tokenizer

pytestmark = [needs_shared, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("HUMANEVAL_OVERRIDE_PATH", "MBPP_OVERRIDE_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("tasks", "counts"),
    [
        ("codegen,codesum",
         {"codegen": {"train": 231, "validation": 1}, "codesum": {"train": 1831, "validation": 170}}),
        ("codegen_authors,codesum_authors",
         {"codegen": {"train": 537, "validation": 69}, "codesum": {"train": 1638, "validation": 193}}),
        ("codegen,codesum_python", {"codesum": {"train": 1431, "validation": 120}}),
    ],
)  # fmt: skip
def test_every_task_reads_the_real_rows(world: Path, tasks: str, counts: dict[str, dict[str, int]]) -> None:
    cfg = compose_job("train", ["model=qwen7b", "strategy=mix", f"tasks=[{tasks}]"]).cfg
    for split in ("train", "validation"):
        for task, sources in task_sources(cfg, "real", split).items():
            rows = [row for source in sources for row in source.examples(split)]
            assert {row.task for row in rows} == {task}
            if task in counts:
                assert len(rows) == counts[task][split]


def test_mbpp_rows_are_those_of_its_train_split(world: Path) -> None:
    cfg = compose_job("train", ["model=qwen7b", "strategy=mix", "tasks=[codegen_authors,codesum]"]).cfg
    kodcode, mbpp = task_sources(cfg, "real", "train")["codegen"]
    ids = {row.id for split in ("train", "validation") for row in mbpp.examples(split)}
    assert ids == {f"Mbpp/{number}" for number in range(601, 975)}
    assert len({row.id for row in kodcode.examples("train")}) == len(kodcode.examples("train"))


def test_other_files_are_read_by_the_names_of_their_fields(world: Path) -> None:
    """CodeAlpaca's rows and a Parquet table instead of KodCode."""
    (world / "mine").mkdir()
    pd.DataFrame({"number": range(9), "question": "Add.", "program": "a + b"}).to_parquet("mine/train-0.parquet")
    source = "_target_: src.data.sources.RecordSource, task: codegen"
    form = "form: {_target_: src.data.forms.alpaca, _partial_: true}"
    alpaca = (
        f"data: '{shared('data', 'instruct', 'code_alpaca_2k.json.gz')}', user_prompt: '{{prompt}}', answer: answer"
    )
    table = "data: ['mine/{split}*.parquet', me/my-data], user_prompt: 'Write Python. {question}', answer: program"
    place = "tasks.codegen.sources.real"
    overrides = [f"{place}.kodcode=null", f"+{place}.alpaca={{{source}, {form}, {alpaca}}}"]
    overrides += [f"+{place}.table={{{source}, {table}, id: number}}"]
    cfg = compose_job("train", ["model=qwen7b", "strategy=mix", *overrides]).cfg
    alpaca_rows, table_rows = (source.examples("train") for source in task_sources(cfg, "real", "train")["codegen"])
    assert len(alpaca_rows) > 2000
    assert [(row.id, row.prompt, row.answer) for row in table_rows][:2] == [
        ("0", "Write Python. Add.", "a + b"), ("1", "Write Python. Add.", "a + b"),
    ]  # fmt: skip


def test_task_is_the_name_of_a_task_not_of_its_file(world: Path) -> None:
    with pytest.raises(UserError, match=r"unknown task 'codegen_fair', did you mean 'codegen'.*tasks=\["):
        train(compose_job("train", ["model=qwen7b", "strategy=specialist", "task=codegen_fair"]))


def test_decontamination_finds_the_rows_that_mbpp_shares_with_its_benchmark(world: Path) -> None:
    """108 of MBPP+'s 378 tasks have ids of MBPP's train split."""
    overrides = ["model=qwen7b", "strategy=mix", "tasks=[codegen_authors,codesum]"]
    job = compose_job("train", overrides)
    clean = Decontamination(job)
    clean.prepare()
    _, mbpp = task_sources(job.cfg, "real", "train")["codegen"]
    rows = [row for split in ("train", "validation") for row in mbpp.examples(split)]
    with gzip.open(world / "data/mbpp/MbppPlus.jsonl.gz", "rt") as file:
        tested = {json.loads(line)["task_id"] for line in file}
    shared_ids = tested & {row.id for row in rows}
    assert len(shared_ids) == 108
    kept = {row.id for row in clean(rows)}
    assert not kept & shared_ids
    assert len(kept) > 150


@pytest.mark.parametrize(
    ("model", "steps", "rows"),
    [("deepseek1.3b", 3, 12), *(pytest.param(model, 50, 200, marks=pytest.mark.slow) for model in TOKENIZERS)],
)
def test_a_shrunken_model_of_real_rows_reopens_with_equal_logits(
    world: Path, model: str, steps: int, rows: int
) -> None:
    """`train.py` on KodCode and CodeXGLUE rows through the real tokenizer; plain transformers reads what it exports."""
    sizes = [f"strategy.steps={steps}", f"data.limit={rows}", "strategy.max_length=384", "strategy.learning_rate=1e-2"]
    options = [f"model={model}", "debug=rehearse", tokenizer(model), "logger=none", "strategy=mix", *sizes]
    place = train(compose_job("train", options))
    record = json.loads((place / "run.json").read_text())["results"]
    assert set(record["losses"]) == {"codegen", "codesum", "all"}
    assert record["cost"]["steps"] == steps
    reopened = AutoModelForCausalLM.from_pretrained(place)
    reader = AutoTokenizer.from_pretrained(place)
    vocabulary = reopened.config.vocab_size
    assert steps < 50 or record["losses"]["all"] < 0.8 * math.log(vocabulary)
    turns = [{"role": "user", "content": "Reverse a list."}]
    ids = reader.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ours = load_model(place, attention="sdpa")
    assert torch.equal(ours(**ids).logits, reopened(**ids).logits)
    base = AutoModelForCausalLM.from_pretrained(Path("runs/train") / f"{model}-rehearsal-base-s0")
    assert not torch.equal(base(**ids).logits, reopened(**ids).logits)
    assert reader.eos_token == {"qwen1.5b": "<|im_end|>", "deepseek1.3b": "<|EOT|>"}[model]


@pytest.mark.slow
@pytest.mark.parametrize("model", TOKENIZERS)
@pytest.mark.parametrize("preset", ["paper_text", "paper_authors", "fair"])
def test_a_preset_is_rehearsed_from_base_to_report(world: Path, preset: str, model: str) -> None:
    grid = [
        "study.methods=[linear,dare]",
        "study.random_methods=[dare]",
        "study.weights=[0.3]",
        "study.methods_without_grid=[]",
    ]
    options = [f"study={preset}", f"study.model={model}", "study.debug=rehearse", "study.mask_seeds=[0,1]", *grid]
    directory = study(compose_job("study", [*options, f"study.overrides=['{tokenizer(model)}']"]))
    record = json.loads((directory / "run.json").read_text())
    assert record["results"]["outcome"] in {"mix", "merge", "equivalent", "undecided"}
    page = (directory / "report.md").read_text()
    assert f"strategy=mix model={model} debug=rehearse" in page or f"model={model} debug=rehearse" in page
    headline = pd.read_csv(directory / "headline.csv")
    assert len(headline) >= 5
    runs = [json.loads(path.read_text()) for path in Path("runs/train").glob("*/run.json")]
    assert {run["config"].get("data", {}).get("decontaminate") for run in runs} == {None, preset == "fair"}
