"""Parents of `merge.py` as people name them: Hub names, odd paths, equal names, and failures that leave nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.runs.record import Run
from src.stages.diagnose import diagnose
from src.stages.job import Job, compose_job
from src.stages.merge import run as stage
from src.stages.merge.run import merge, merge_all
from src.utils.errors import UserError
from tests.merging.tools import random_family

COMMITS = {"old": "a" * 40, "main": "b" * 40}


def write_parents(root: Path) -> Path:
    base, specialists = random_family()
    for name, tensors in zip(("base", "codegen", "codesum"), (base, *specialists), strict=True):
        write_checkpoint(root / name, tensors)
        (root / name / "config.json").write_text('{"model_type": "qwen2", "tie_word_embeddings": true}')
    return root


def job(root: Path, *overrides: str, out: Path | None = None, **parents: object) -> Job:
    named = {"base": root / "base", "codegen": root / "codegen", "codesum": root / "codesum"} | parents
    base = named.pop("base")
    words = [f"base={base}", *(f"specialists.{name}={place}" for name, place in named.items())]
    return compose_job("merge", ["merge=linear", *words, f"output_root={out or root / 'runs'}", *overrides])


def left(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "runs" / "merge").glob("*")) if (root / "runs").exists() else []


def test_a_specialist_called_base_is_refused(tmp_path: Path) -> None:
    root = write_parents(tmp_path)
    overrides = [
        "merge=linear",
        f"base={root}/base",
        f"specialists.base={root}/codegen",
        f"specialists.b={root}/codesum",
    ]
    with pytest.raises(UserError, match=r"specialists.base=.*base is the name of the base"):
        merge(compose_job("merge", [*overrides, f"output_root={root}/runs"]))


@pytest.mark.parametrize("step", ["write_side_files", "resolve_nested_merge"])
def test_what_fails_around_a_point_loses_that_point_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    root = write_parents(tmp_path)
    original = getattr(stage, step)
    calls: list[int] = []

    def second_fails(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise UserError("tokenizer.json is corrupt")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage, step, second_fails)
        jobs = [job(root, f"merge.weight={weight}") for weight in (0.1, 0.2, 0.3)]
        first, second, third = merge_all(jobs)
    assert isinstance(second, UserError)
    assert left(root) == sorted(Path(str(path)).name for path in (first, third))
    assert merge(jobs[1]).is_dir()  # the corrected command


def test_a_disk_that_fills_up_at_the_end_loses_that_point_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_parents(tmp_path)
    finish = Run.finish

    def full(run: Run, *known: Any) -> None:
        if "w0.2" in run.directory.name:
            raise OSError(28, "No space left on device")
        finish(run, *known)

    jobs = [job(root, f"merge.weight={weight}") for weight in (0.1, 0.2, 0.3)]
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", full)
        results = merge_all(jobs)
    assert "No space left on device" in str(results[1])
    assert left(root) == sorted(Path(str(results[i])).name for i in (0, 2))
    assert merge(jobs[1]).is_dir()


def test_a_defect_during_the_pass_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_parents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "merge_grid", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            merge(job(root))
    assert left(root) == []
    assert not list((root / "runs" / "merge").iterdir())


def test_the_disk_is_measured_before_the_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_parents(tmp_path)
    size = sum(path.stat().st_size for path in (root / "base").glob("*.safetensors"))
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(1.5 * size)))
    first, second = merge_all([job(root, f"merge.weight={weight}") for weight in (0.1, 0.2)])
    assert isinstance(first, Path)
    assert "GB left; free some space, choose another output=, or keep the recipe alone" in str(second)
    assert left(root) == [first.name]
    assert merge(job(root, "merge.weight=0.2", "save_weights=false")).is_dir()


def test_other_parents_of_a_sweep_are_merged_where_some_are_missing(tmp_path: Path) -> None:
    root = write_parents(tmp_path)
    (root / "base" / "empty").mkdir()
    (root / "base" / "empty" / "config.json").write_text("{}")
    results = merge_all([job(root, codegen=root / "base" / "empty"), job(root)])
    assert "no weights in" in str(results[0])
    assert isinstance(results[1], Path)


def test_checkpoints_of_equal_names_in_two_runs_have_two_merges(tmp_path: Path) -> None:
    root = write_parents(tmp_path)
    for run, source in (("runA", "codegen"), ("runC", "codesum")):
        shutil.copytree(root / source, root / run / "checkpoint-500")
    one, other = (
        merge(job(root, codegen=root / run / "checkpoint-500", codesum=root / "codesum")) for run in ("runA", "runC")
    )
    assert one != other
    by_base = [merge(job(root, base=root / run / "checkpoint-500")) for run in ("runA", "runC")]
    assert by_base[0].name.startswith("runA-checkpoint-500-linear")
    assert by_base[1].name.startswith("runC-checkpoint-500-linear")


def test_recorded_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_parents(tmp_path)
    monkeypatch.chdir(root)
    made = merge(job(Path(), out=Path("runs")))
    recorded = json.loads((root / made / "run.json").read_text())["results"]["parents"]
    assert recorded == {name: str(root / name) for name in ("base", "codegen", "codesum")}


def test_a_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_parents(tmp_path)
    monkeypatch.setenv("HOME", str(root))
    assert merge(job(root, base="'~/base'", codegen="'~/codegen'")).is_dir()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache without a network: org/codegen with two revisions."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    root = write_parents(tmp_path)
    repository = tmp_path / "hub" / "models--org--codegen"
    (repository / "refs").mkdir(parents=True)
    for reference, commit in COMMITS.items():
        (repository / "refs" / reference).write_text(commit)
        shutil.copytree(root / "codegen", repository / "snapshots" / commit)
    tensors = {name: Checkpoint(root / "codegen").tensor(name) * 1.01 for name in Checkpoint(root / "codegen").names}
    write_checkpoint(repository / "snapshots" / COMMITS["old"], tensors)
    return repository / "snapshots"


def test_parents_by_their_names_on_the_hub(hub: Path, tmp_path: Path) -> None:
    latest = merge(job(tmp_path, codegen="org/codegen"))
    old = merge(job(tmp_path, codegen="org/codegen@old"))
    assert latest != old
    recorded = json.loads((old / "run.json").read_text())["results"]["parents"]["codegen"]
    assert recorded == str(hub / COMMITS["old"])
    norm = "model.norm.weight"
    expected = 0.5 * (Checkpoint(hub / COMMITS["old"]).tensor(norm) + Checkpoint(tmp_path / "codesum").tensor(norm))
    assert torch.equal(Checkpoint(old).tensor(norm), expected)
    by_name = merge(job(tmp_path, base="org/codegen@old"))
    assert by_name.name.startswith("codegen@old-linear")
    by_path = merge(job(tmp_path, base=hub / COMMITS["main"]))
    assert by_path.name.startswith("codegen-bbbbbbb-linear")


@pytest.mark.usefixtures("hub")
def test_a_name_that_the_cache_lacks_says_what_to_type(tmp_path: Path) -> None:
    for name, line in (
        ("org/absent", r"specialists.codegen=org/absent is not in the local .* hf download org/absent; otherwise"),
        ("org/codegen@v2", r"hf download org/codegen --revision v2"),
        (f"{tmp_path.name}/nowhere/else", "no such directory"),
    ):
        with pytest.raises(UserError, match=line):
            merge(job(tmp_path, codegen=name))


def test_diagnose_takes_what_merge_takes(tmp_path: Path) -> None:
    """A pickle, a tied head in one file, shards without an index, another dtype."""
    root = write_parents(tmp_path)
    words = [f"base={root}/base", f"specialists.codegen={root}/codegen", f"specialists.codesum={root}/codesum"]
    before = diagnose(compose_job("diagnose", [*words, f"output={root}/before"])) / "layers.csv"
    codegen, codesum = (Checkpoint(root / name) for name in ("codegen", "codesum"))
    tensors = {name: codegen.tensor(name).double() for name in codegen.names}
    write_checkpoint(root / "codegen", {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]})
    (root / "codegen" / "model.safetensors").rename(root / "codegen" / "model-00001-of-00001.safetensors")
    torch.save({name: codesum.tensor(name) for name in codesum.names}, root / "codesum" / "pytorch_model.bin")
    (root / "codesum" / "model.safetensors").unlink()
    after = diagnose(compose_job("diagnose", [*words, f"output={root}/after", "allow_pickle=true"])) / "layers.csv"
    assert after.read_text() == before.read_text()
