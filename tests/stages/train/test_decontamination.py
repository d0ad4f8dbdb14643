"""`data.decontaminate=true`, on rows and benchmarks made here in the places where conf/ looks for them."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pytest

from src.data.examples import Example
from src.stages.job import compose_job
from src.stages.train.decontamination import Decontamination
from src.stages.train.run import train
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl
from tests.lit_modules import tiny

WORDS = " ".join(f"word{number}" for number in range(30))
SOLVED = (
    "def solve(items):\n    best = items[0]\n    for item in items:\n        best = max(best, item)\n    return best\n"
)


def problem(dataset: str, number: int, prompt: str) -> dict[str, object]:
    program = {"canonical_solution": SOLVED, "entry_point": "solve", "base_input": [[[1]]], "plus_input": []}
    return {"task_id": f"{dataset}/{number}", "prompt": prompt, **program}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten rows per task; one codegen row repeats a HumanEval prompt, one an MBPP program with other names."""
    monkeypatch.chdir(tmp_path)
    for name in ("HUMANEVAL_OVERRIDE_PATH", "MBPP_OVERRIDE_PATH"):
        monkeypatch.delenv(name, raising=False)
    write(Path("data/humaneval/HumanEvalPlus.jsonl.gz"), [problem("HumanEval", 0, WORDS)])
    write(Path("data/mbpp/MbppPlus.jsonl.gz"), [problem("Mbpp", number, f"Task {number}.") for number in (7, 511)])
    mine = [{"question_id": str(n), "question": f"Say {n}.", "4o_solution": f"print({n})"} for n in range(10)]
    mine[2]["question"] = f"Please: {WORDS}"
    mine[5]["4o_solution"] = SOLVED.replace("best", "largest").replace("solve", "biggest")
    write(Path("data/kodcode/train.jsonl"), mine)
    for language in ("python", "java"):
        for split in ("train", "validation", "test"):
            rows = [{"url": f"{language}/{split}/{n}", "code": f"f{n}()", "docstring": f"Call {n}."} for n in range(10)]
            write(Path(f"data/codexglue/{language}_{split}.jsonl"), rows)
    tiny.tokenizer().save_pretrained("tokenizer")
    return tmp_path


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path.with_suffix("") if path.suffix == ".gz" else path, rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))


OPTIONS = ["model=qwen1.5b", "debug=rehearse", "model.tokenizer=tokenizer", "logger=none", "strategy.steps=1"]
HELD_OUT = "tasks.codegen.sources.real.kodcode.held_out=0.3"


def test_rows_left_out_are_counted_in_log_and_record(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = train(compose_job("train", [*OPTIONS, "strategy=mix", "data.decontaminate=true", HELD_OUT]))
    record = json.loads((place / "run.json").read_text())
    lengths = record["results"]["lengths"]
    assert (lengths["codegen"]["contaminated"], lengths["codesum"]["contaminated"]) == (2, 0)
    said = " ".join(capsys.readouterr().err.split())
    assert "codegen train: " in said
    assert "2 more contain a benchmark item" in said
    again = train(compose_job("train", [*OPTIONS, "strategy=mix", "data.decontaminate=true", HELD_OUT, "seed=1"]))
    counted = json.loads((again / "run.json").read_text())["results"]["lengths"]
    assert counted == lengths  # this time from the cache of tokens
    whole = train(compose_job("train", [*OPTIONS, "strategy=mix", HELD_OUT]))
    kept = json.loads((whole / "run.json").read_text())["results"]["lengths"]["codegen"]
    assert (kept["rows"], kept["contaminated"]) == (lengths["codegen"]["rows"] + 2, 0)


def test_other_processes_get_the_filter_without_the_items(world: Path) -> None:
    clean = Decontamination(compose_job("train", [*OPTIONS, "strategy=mix"]))
    clean.prepare()
    sent = pickle.loads(pickle.dumps(clean))
    rows = [Example(str(number), "codegen", prompt, "x = 1") for number, prompt in enumerate(("Say 1.", WORDS, "Hi."))]
    assert [row.id for row in sent(rows)] == [row.id for row in clean(rows)] == ["0", "2"]
    assert sent.key == clean.key
    assert set(vars(sent)) == {"key", "_overlap"}


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("humaneval/HumanEvalPlus.jsonl.gz", "no problems for benchmark=humaneval: download HumanEvalPlus.jsonl.gz"),
        ("mbpp/MbppPlus.jsonl.gz", "no problems for benchmark=mbpp: download MbppPlus.jsonl.gz"),
        ("codexglue/java_test.jsonl", r"no such file: data/codexglue/java_test\*"),
    ],
)
def test_absent_benchmarks_are_named(world: Path, absent: str, words: str) -> None:
    (world / "data" / absent).unlink()
    with pytest.raises(UserError, match=words):
        train(compose_job("train", [*OPTIONS, "strategy=mix", "data.decontaminate=true", HELD_OUT]))
    assert not [path for path in (world / "runs/train").glob("*mix*") if path.is_dir()]
