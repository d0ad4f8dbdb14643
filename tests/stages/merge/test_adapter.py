"""`merge.py adapter=exact|RANK`: a merged adapter is a parent and a checkpoint like any other."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint
from src.merging.engine.outputs import ToModel
from src.runs.file_hashes import FileState
from src.stages.build import build
from src.stages.job import Job, compose_job
from src.stages.merge.adapter import check_adapter, planned_bytes
from src.stages.merge.dry_run import dry_run
from src.stages.merge.recorded import lazy_merge
from src.stages.merge.run import merge, merge_all
from src.stages.merge.verify import verify
from src.utils.errors import UserError
from src.utils.files import sha256_file
from tests.merging.engine.test_adapter_merge import LABELS, MIXED
from tests.merging.tensors.test_lora import save_adapter, save_model
from tests.merging.tools import largest_difference


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("adapters")
    for seed, label in enumerate(LABELS, 1):
        save_adapter(place / label, save_model(place / "base"), seed, **MIXED[label])
    return place


def job(root: Path, out: Path, *overrides: str, **parents: Path) -> Job:
    named = parents or {label: root / label for label in LABELS}
    words = [f"base={root / 'base'}", *(f"specialists.{name}={place}" for name, place in named.items())]
    return compose_job("merge", ["merge=linear", "merge.weight=0.3", *words, f"output={out}", *overrides])


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())["results"]
    return found


def test_a_merged_adapter_is_the_full_merge(root: Path, tmp_path: Path) -> None:
    """For transformers, for `evaluate.py`, and as a parent of a further merge."""
    from transformers import AutoModelForCausalLM

    full = Checkpoint(merge(job(root, tmp_path / "full")))
    expected = {name: full.tensor(name) for name in full.names}
    merged = merge(job(root, tmp_path / "merged", "adapter=exact"))
    assert not (merged / "model.safetensors").exists()
    assert record(merged)["adapter"]["lost"]["all"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(merged)
    ids = torch.arange(12)[None]
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "full")
    assert torch.allclose(model(input_ids=ids).logits, whole(input_ids=ids).logits, atol=1e-5)
    point = lazy_merge(merged, "checkpoint")
    assert point is not None
    state = save_model(tmp_path / "other").state_dict()
    point.merge_into(ToModel(state))
    assert largest_difference({name: state[name] for name in expected}, expected) < 1e-6
    again = merge(job(root, tmp_path / "again", "merge.weight=1", pair=merged))
    assert largest_difference({name: Checkpoint(again).tensor(name) for name in expected}, expected) < 1e-6
    assert record(again)["nested_merges"]["coefficients"] == {"codegen": 0.3, "codesum": 0.7}


def test_verified_like_any_merge(root: Path, tmp_path: Path) -> None:
    merged = merge(job(root, tmp_path / "merged", "merge=ties", "adapter=4"))
    results = record(merged)
    assert 0 < results["adapter"]["lost"]["all"] < 1
    assert results["strength"][-1]["density"]
    found = verify(merged)
    assert (len(found.sampled), found.total, found.bitwise) == (7, 7, False)
    file = merged / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha": 4', '"lora_alpha": 5'))
    with pytest.raises(UserError, match=r"adapter_config\.json has changed"):
        verify(merged)


def test_what_is_recomputed_is_compared(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.stages.merge import verify as stage

    merged = merge(job(root, tmp_path / "merged", "adapter=exact"))
    file = merged / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha": 10', '"lora_alpha": 11'))
    forged = json.loads((merged / "run.json").read_text())
    del forged["sha256"]
    forged["outputs"][file.name] = asdict(FileState.of(file, sha256_file(file)))
    (merged / "run.json").write_text(json.dumps(forged))
    monkeypatch.setattr(stage, "_changed_files", lambda directory: [])
    with pytest.raises(UserError, match=r"does not match its record in: model\.layers\.0"):
        verify(merged)


def test_fallbacks_are_said(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merged = merge(job(root, tmp_path / "merged", "merge=tsv", "adapter=8"))
    assert record(merged)["fallbacks"] == ["model.embed_tokens.weight"]
    assert "merge=tsv does not apply to" in capsys.readouterr().err


def test_a_truncated_merge_is_not_linear(root: Path, tmp_path: Path) -> None:
    merged = merge(job(root, tmp_path / "merged", "adapter=5"))
    nested = record(merged)["nested_merges"]
    assert (nested["is_linear"], nested["reason"]) == (False, "truncated to rank 5")


def test_a_point_that_is_no_adapter_leaves_the_others(root: Path, tmp_path: Path) -> None:
    whole = {"codegen": root / "codegen", "codesum": root / "base"}
    jobs = [job(root, tmp_path / "a", "adapter=exact", **whole), job(root, tmp_path / "b", "adapter=exact")]
    refused, merged = merge_all(jobs)
    assert "is a full checkpoint" in str(refused)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
    assert (tmp_path / "b" / "adapter_model.safetensors").is_file()
    assert merged == tmp_path / "b"


def test_a_dry_run_knows_what_becomes_an_adapter(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [job(root, tmp_path / "a", "adapter=exact"), job(root, tmp_path / "b", "merge=ties", "adapter=4")]
    dry_run(points)
    written = [merge(point) / "adapter_model.safetensors" for point in points]
    specialists = {label: root / label for label in LABELS}
    for point, size, file in zip(points, ("exact", 4), written, strict=True):
        planned = planned_bytes(root / "base", specialists, build(point.cfg.merge), size, allow_pickle=False)
        header = int.from_bytes(file.read_bytes()[:8], "little") + 8
        assert planned == file.stat().st_size - header
    with pytest.raises(UserError, match="the merge would fail, 1 problem"):
        dry_run([job(root, tmp_path / "c", "merge=ties", "adapter=exact")])
    assert "adapter=exact holds for weighted sums" in "".join(capsys.readouterr())


@pytest.mark.parametrize("value", ["rank", 0, -1, True, 1.5])
def test_bad_values(value: object) -> None:
    with pytest.raises(UserError, match=r"adapter=.*: expected exact, or the rank"):
        check_adapter(value, save_weights=True)
    with pytest.raises(UserError, match="save_weights=false"):
        check_adapter(4, save_weights=False)


def test_an_adapter_from_elsewhere_is_not_evaluated(root: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint=.* is a LoRA adapter; .* python merge\.py merge=linear"):
        lazy_merge(root / "codegen", "checkpoint")
