from __future__ import annotations

from pathlib import Path

import pytest

from src.stages.job import compose_job
from src.stages.train.dry_run import dry_run
from src.utils.errors import UserError

SMALL = ["data.limit=20", "strategy.steps=3"]


@pytest.mark.slow
def test_rows_and_plan_of_a_mixture(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(world.rglob("*"))
    dry_run(compose_job("train", ["strategy=mix", *SMALL, "preview=2", "dry_run=true", f"output_root={world}"]))
    printed = capsys.readouterr().out
    for task in ("codegen", "codesum"):
        assert printed.count(f"{task}, row pocket/{task}/train/") == 2
        assert f"{task} train: rows" in printed
    assert "plan: 3 steps" in printed
    assert "dry run: no problem found" in printed
    assert sorted(world.rglob("*")) == before


@pytest.mark.slow
def test_a_base_that_is_missing_needs_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tokenizer is made in a temporary place; the specialists of a merge are planned one by one."""
    short = ["data.limit=20", "model.recipe.epochs=null", "model.recipe.steps=3"]
    dry_run(compose_job("train", ["strategy=merge", *short, "dry_run=true", f"output_root={tmp_path}"]))
    printed = capsys.readouterr().out
    assert printed.count("not trained yet") == printed.count("plan: 3 steps") == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_machine_without_a_gpu_is_a_problem_and_not_the_end(
    world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    job = compose_job("train", ["strategy=mix", *SMALL, "trainer=gpu", "dry_run=true", f"output_root={world}"])
    with pytest.raises(UserError, match="1 problem"):
        dry_run(job)
    printed = capsys.readouterr().out
    assert "problem: this model trains on a GPU" in printed
    assert "plan: 3 steps" in printed


@pytest.mark.slow
def test_statistics_have_no_plan() -> None:
    with pytest.raises(UserError, match="strategy=fisher trains nothing"):
        dry_run(compose_job("train", ["strategy=fisher", "dry_run=true"]))
