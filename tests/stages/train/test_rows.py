from __future__ import annotations

from pathlib import Path

import pytest

from src.stages.job import compose_job
from src.stages.train.rows import monitored_sources
from src.utils.jsonl import write_jsonl


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
