"""The README.md that every written merge gets."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import ModelCard

from src.checkpoints.fingerprint import fingerprint
from src.stages.merge.run import merge
from src.stages.merge.verify import verify
from tests.stages.merge.test_parents import job, write_parents


def evaluated(root: Path, name: str, checkpoint: object, value: float) -> None:
    row = {"benchmark": "humaneval", "metric": "pass@1", "value": value, "low": 0.0, "high": 1.0, "n": 2}
    record = {"inputs": {"checkpoint": checkpoint}, "config": {"split": "test"}, "results": {"scores": [row]}}
    place = root / "runs" / "evaluate" / name
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps(record))


def test_a_merge_has_its_own_card(tmp_path: Path) -> None:
    root = write_parents(tmp_path)
    (root / "base" / "README.md").write_text("---\nlicense: mit\n---\n# The base")
    for name in ("codegen", "codesum"):
        (root / name / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A specialist")
    made = merge(job(root, "merge.weight=0.3"))
    found = ModelCard.load(made / "README.md")
    assert found.data.license == "apache-2.0"
    assert found.data.library_name == "transformers"
    assert found.data.tags == ["merge", "mixmerge", "linear"]
    assert "| codesum | codesum |  | apache-2.0 | 0.7 |" in found.text
    assert f"# {made.name}" in found.text
    assert "The base" not in found.text
    assert f"base={root}/base specialists.codegen={root}/codegen" in found.text
    assert verify(made).holds
    before = fingerprint(made)
    (made / "README.md").write_text("edited")
    assert fingerprint(made) == before


def test_a_merge_that_was_evaluated_in_memory_has_its_scores(tmp_path: Path) -> None:
    from src.stages.merge.recorded import recorded_merge

    root = write_parents(tmp_path)
    lazy = merge(job(root, "merge.weight=0.3", "save_weights=false"))
    assert not (lazy / "README.md").exists()
    evaluated(root, "other", {"config.json": "0"}, 0.125)
    evaluated(root, "lazy", recorded_merge(lazy, "checkpoint").fingerprint, 0.25)
    found = ModelCard.load(merge(job(root, "merge.weight=0.3")) / "README.md")
    assert "| humaneval | pass@1 | test | 25.00 |" in found.text
    assert "12.50" not in found.text
