"""`merge.py ... dry_run=true`: the errors of the merge itself, all at once, and nothing on the disk."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from src.checkpoints import Checkpoint
from src.merging.engine.preflight import forecast
from src.stages.merge.dry_run import dry_run
from src.stages.merge.run import merge, merge_all
from src.utils.errors import UserError
from tests.merging.tools import recipe
from tests.stages.merge.test_parents import job, left, write_parents


def configure(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_parents_differences_and_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_parents(tmp_path)
    configure(root / "codesum", use_cache=False)
    numel = sum(info.numel for info in Checkpoint(root / "base").table.values())
    before = sorted(root.rglob("*"))
    dry_run([job(root, f"merge.weight={weight}") for weight in (0.3, 0.6)])
    assert sorted(root.rglob("*")) == before
    out = capsys.readouterr().out
    assert [f"{numel:,}" in line for line in out.splitlines() if "safetensors" in line] == [True] * 3
    assert "use_cache is None in the base, False here" in out
    assert "codegen 0.3, codesum 0.7" in out
    assert f"to read and merge {numel:,} elements" in out
    made = merge(job(root, "merge.weight=0.3"))
    assert str(made)[-40:] in out
    size = Checkpoint(made)
    assert f"disk: {2 * sum(info.nbytes for info in size.table.values()) / 1e6:.3g} MB for 2 points" in out
    dry_run([job(root, "merge.weight=0.3")])
    assert "finished" in capsys.readouterr().out


def test_every_error_of_the_merge_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the real run raises first is among them, until the last is fixed."""
    root = write_parents(tmp_path)
    for name, template in (("codegen", "one"), ("codesum", "another")):
        (root / name / "tokenizer_config.json").write_text("{}")
        (root / name / "chat_template.jinja").write_text(template)
    configure(root / "codegen", hidden_act="gelu")
    (root / "base" / "config.json").write_text('{"model_type": "qwen2", "tie_word_embeddings": true, "top": 1}')
    broken = job(root, "merge.exclude=nothing")
    with pytest.raises(UserError, match="3 problems"):
        dry_run([broken])
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    raised = []
    for fix in ("merge.template=codegen", "merge.exclude=null", None):
        with pytest.raises(UserError) as error:
            merge(broken)
        raised.append(f"problem: {error.value}")
        broken = job(root, *(word for word in broken.overrides if word.startswith("merge.")), *([fix] if fix else []))
    assert sorted(raised) == sorted(problems)


def test_missing_parents_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_parents(tmp_path)
    shutil.rmtree(root / "base")
    shutil.rmtree(root / "codesum")
    with pytest.raises(UserError, match="1 problem "):
        dry_run([job(root)])
    out = capsys.readouterr().out
    assert f"base={root}/base: no such directory" in out
    assert f"specialists.codesum={root}/codesum: no such directory" in out


def test_the_place_and_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_parents(tmp_path)
    made = merge(job(root, f"output={root}/out"))
    with pytest.raises(UserError, match="1 problem "):
        dry_run([job(root, f"output={made}", "merge.weight=0.9")])
    assert f"problem: {made} holds another run" in capsys.readouterr().out
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
    jobs = [job(root, f"merge.weight={weight}") for weight in (0.1, 0.2)]
    with pytest.raises(UserError, match="2 problems"):
        dry_run(jobs)
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    expected = [f"problem: {error}" for error in merge_all(jobs)]  # which counts the files it has written by then
    assert [re.sub(r"needs \S+", "needs", line) for line in found] == [
        re.sub(r"needs \S+", "needs", line) for line in expected
    ]
    assert left(root) == []


def test_a_method_that_cannot_take_the_parents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_parents(tmp_path)
    three = job(root, "merge=slerp", codegen=root / "codegen", codesum=root / "codesum", third=root / "codesum")
    with pytest.raises(UserError, match="1 problem "):
        dry_run([three])
    with pytest.raises(UserError) as error:
        merge(three)
    assert f"problem: {error.value}" in capsys.readouterr().out


def test_the_time_is_that_of_the_sample_by_elements(tmp_path: Path) -> None:
    root = write_parents(tmp_path)
    base, specialists = Checkpoint(root / "base"), {name: Checkpoint(root / name) for name in ("codegen", "codesum")}
    found = forecast(base, specialists, [recipe("linear", weight=0.5), recipe("ties", weight=0.5)])
    assert found.errors == [None, None]
    assert found.seconds == pytest.approx(found.sample_seconds * found.elements / found.sampled)
    whole = forecast(base, specialists, [recipe("ties", weight=0.5, trim="model")])
    assert whole.seconds is None
