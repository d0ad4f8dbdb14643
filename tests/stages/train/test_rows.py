from __future__ import annotations

from pathlib import Path

import pytest

from src.data.examples import Examples
from src.data.options import DataOptions
from src.data.shards import Tokenization
from src.data.sources import RecordSource
from src.data.table import Part
from src.stages.job import compose_job
from src.stages.train.rows import monitored_sources, training_tables
from src.utils.jsonl import write_jsonl
from tests.lit_modules import tiny


@pytest.mark.parametrize("cache", [False, True])
def test_sources_with_weights_and_copies_become_one_table(tmp_path: Path, cache: bool) -> None:
    def source(name: str, questions: str, **more: float) -> RecordSource:
        path = tmp_path / f"{name}_train.jsonl"
        write_jsonl(path, ({"q": letter, "a": letter} for letter in questions))
        return RecordSource("t", str(path), "{q}", "a", id="q", **more)  # type: ignore[arg-type]

    sources = {"t": [source("one", "abcd", weight=2.0), source("two", "dexf")], "u": [source("other", "g")]}
    held_out = {"t": [source("held", "x")]}
    for _ in range(2):  # the second time from the cache
        tables, reports = training_tables(
            sources, "train", Tokenization(tiny.tokenizer(), 64),
            DataOptions(deduplicate="exact", cache=str(tmp_path / "cache") if cache else None),
            {"t": [HeldOut(held_out["t"][0])]},
        )  # fmt: skip
        assert list(tables["t"].ids) == list("abcdef")
        assert tables["t"].parts == (Part(4, 2.0), Part(2, 1.0))
        assert [len(tables["t"].row(index)[0]) for index in range(6)] == [len(tables["u"].row(0)[0])] * 6
        assert reports["t"].left_out == {"copies of other rows": 1, "copies of validation rows": 1}
        assert tables["u"].parts == ()


class HeldOut:
    """The training rows of a source as validation rows."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source

    def examples(self, split: str) -> Examples:
        return self.source.examples("train")

    def fingerprint(self, split: str) -> str:
        return self.source.fingerprint("train")


def test_a_specialist_needs_the_rows_of_its_own_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses on other tasks are measured where their rows are in files; nothing is downloaded for them."""
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine_train.jsonl"
    write_jsonl(
        mine, ({"question": str(number), "4o_solution": "x", "question_id": str(number)} for number in range(5))
    )
    place = f"tasks.codegen.sources.real.kodcode.data='{tmp_path}/mine_{{split}}.jsonl'"
    cfg = compose_job("train", ["model=qwen7b", "strategy=specialist", "task=codegen", place]).cfg
    assert list(monitored_sources(cfg, "real")) == ["codegen"]
    assert "no loss on codesum while training" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "data" / "codexglue" / "python").mkdir(parents=True)
    for language in ("python", "java"):
        write_jsonl(
            tmp_path / f"data/codexglue/{language}_validation.jsonl", [{"code": "x", "docstring": "d", "url": "u"}]
        )
    assert list(monitored_sources(cfg, "real")) == ["codegen", "codesum"]
    mix = compose_job("train", ["model=qwen7b", "strategy=mix", place]).cfg
    assert list(monitored_sources(mix, "real")) == ["codegen", "codesum"]
