"""`merge.py compare=[A,B,...]`: pairs side by side, the base by the weights, and the line that merges."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.stages.job import compose_job
from src.stages.merge.compare_parents import compare_parents
from src.stages.merge.dry_run import dry_run
from src.utils.errors import UserError
from tests.stages.merge.test_dry_run import configure
from tests.stages.merge.test_parents import write_parents


def shown(capsys: pytest.CaptureFixture[str], *paths: Path) -> str:
    compare_parents([str(path) for path in paths], allow_pickle=False)
    return capsys.readouterr().out


def line_of(text: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith("python merge.py")]
    return shlex.split(line)[2:]


def test_the_base_is_found_and_its_line_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Specialists are as far from each other as their two updates together: the base lies in the middle."""
    root = write_parents(tmp_path)
    out = shown(capsys, root / "codesum", root / "base", root / "codegen")
    words = line_of(out)
    assert words[:4] == [
        "merge=ties",
        f"base={root}/base",
        f"specialists.codesum={root}/codesum",
        f"specialists.codegen={root}/codegen",
    ]
    assert out.count("one origin") == 3
    dry_run([compose_job("merge", [*words, f"output_root={root}/runs"])])


def test_a_pair_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_parents(tmp_path)
    configure(root / "codegen", hidden_act="gelu")
    for name in ("base", "codesum"):
        configure(root / name, hidden_act="silu")
    out = shown(capsys, root / "base", root / "codesum", root / "codegen")
    assert "hidden_act is 'silu' in the base, 'gelu' here" in out
    assert "codegen: no merge with base_model" in out
    assert not any(word.startswith("specialists.codegen") for word in line_of(out))


def test_unrelated_weights_and_other_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_parents(tmp_path)
    tensors = load_file(root / "codegen" / "model.safetensors")
    generator = torch.Generator().manual_seed(9)
    strange = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in tensors.items()}
    save_file(strange, root / "codegen" / "model.safetensors")
    out = shown(capsys, root / "base", root / "codegen")
    assert "unrelated" in out
    assert "nothing" in out
    assert "python merge.py" not in out
    save_file({**tensors, "extra.weight": torch.ones(2)}, root / "codegen" / "model.safetensors")
    assert "extra.weight is not in the first" in shown(capsys, root / "base", root / "codegen")


def test_other_tokens_and_templates_are_named_in_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_parents(tmp_path)
    rows = load_file(root / "base" / "model.safetensors")["model.embed_tokens.weight"].shape[0]
    for name in ("base", "codegen", "codesum"):
        ids = {f"t{i}": i for i in range(rows - 2)}
        added = {"<new>": rows - 2} if name == "codegen" else {}
        tokenizer = {"model": {"vocab": ids | added}, "added_tokens": []}
        (root / name / "tokenizer.json").write_text(json.dumps(tokenizer))
        if name != "base":
            (root / name / "chat_template.jinja").write_text(name)
    out = shown(capsys, root / "base", root / "codegen", root / "codesum")
    assert "0 missing, 1 added, 0 moved" in out
    assert "merge.tokenizer=union" in line_of(out)
    dry_run([compose_job("merge", [*line_of(out), f"output_root={root}/runs"])])
    (root / "codegen" / "tokenizer.json").write_text((root / "base" / "tokenizer.json").read_text())
    words = line_of(shown(capsys, root / "base", root / "codegen", root / "codesum"))
    assert "merge.template=codegen" in words
    dry_run([compose_job("merge", [*words, f"output_root={root}/runs"])])


def test_two_or_more_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"compare=.*expected two or more"):
        compare_parents([str(tmp_path)], allow_pickle=False)
    with pytest.raises(UserError, match=r"compare=.*no such directory"):
        compare_parents([str(tmp_path / "a"), str(tmp_path / "b")], allow_pickle=False)
