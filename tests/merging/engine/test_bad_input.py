"""Everything that can be wrong with parents and points gets one clear line, and nothing half-written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.merging.backend.numba_ops import NumbaOps
from src.merging.backend.torch_ops import TorchOps
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToDirectory, ToModel
from src.merging.engine.point import is_finite
from src.merging.tensors.parent_tensors import Ops
from src.utils.errors import UserError
from tests.merging.tools import Tensors, merge_one, random_family, recipe, write_family

Change = dict[str, torch.Tensor | None]


def changed(
    directory: Path, change: Change, dtype: torch.dtype = torch.float32
) -> tuple[Checkpoint, dict[str, Checkpoint]]:
    """A family whose second specialist has some tensors replaced, added or (None) removed."""
    base, specialists = random_family(dtype=dtype)
    merged: dict[str, torch.Tensor | None] = {**specialists[1], **change}
    specialists[1] = {name: tensor for name, tensor in merged.items() if tensor is not None}
    return write_family(directory, base, specialists)


def attempt(directory: Path, parents: tuple[Checkpoint, dict[str, Checkpoint]]) -> str:
    """The error of a merge of `parents`; nothing may be left of its output."""
    with pytest.raises(UserError) as caught:
        merge_grid(*parents, [MergeRequest(recipe("ties"), ToDirectory(directory / "out"))])
    assert not list((directory / "out").glob("*"))
    assert not list((directory / "out").glob(".*"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": None}, "model.norm.weight is missing"),
        ({"lm_head.weight": torch.ones(2, 2)}, "lm_head.weight is not in the base"),
        ({"model.norm.weight": torch.ones(7)}, r"model.norm.weight has shape \[7\], expected \[24\]"),
        ({"model.norm.weight": torch.ones(24, dtype=torch.int8)}, "model.norm.weight has dtype int8, expected float32"),
    ],
)
def test_tensors_that_differ(tmp_path: Path, change: Change, message: str) -> None:
    import re

    assert re.search(message, attempt(tmp_path, changed(tmp_path, change)))


def test_five_differences_are_listed(tmp_path: Path) -> None:
    extra: Change = {f"extra.{i}": torch.ones(1) for i in range(9)}
    message = attempt(tmp_path, changed(tmp_path, extra))
    assert message.count("is not in the base") == 5
    assert message.endswith("(and 4 more)")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_that_are_no_numbers(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    weights = torch.full((24, 64), 0.5, dtype=dtype)
    weights[3, 5] = value
    message = attempt(tmp_path, changed(tmp_path, {"model.layers.1.mlp.down_proj.weight": weights}, dtype))
    assert "has 1 NaN or Inf values in model.layers.1.mlp.down_proj.weight" in message


def test_large_but_finite_values_pass(tmp_path: Path) -> None:
    weights = torch.full((24, 64), 3e38)
    base, specialists = random_family()
    for parent in (base, *specialists):
        parent["model.layers.1.mlp.down_proj.weight"] = weights
    parents = write_family(tmp_path, base, specialists)
    [outcome] = merge_grid(*parents, [MergeRequest(recipe("ties"), ToDirectory(tmp_path / "out"))])
    assert outcome.error is None


@pytest.mark.parametrize("ops", [TorchOps(), NumbaOps()])
def test_values_that_overflow_the_output(tmp_path: Path, ops: Ops) -> None:
    """Two of 1,536 values exceed the 65,504 of float16; the other point of the pass is written."""
    name = "model.layers.1.mlp.down_proj.weight"
    base, specialists = random_family()
    for parent in (base, *specialists):
        parent[name][0, :2] = torch.tensor([7e4, -7e4])
    points = [
        MergeRequest(recipe("ties", dtype=dtype), ToDirectory(tmp_path / dtype)) for dtype in ("float16", "bfloat16")
    ]
    half, wide = merge_grid(*write_family(tmp_path, base, specialists), points, ops=ops)
    assert f"2 values of {name} are NaN or infinite in float16; set merge.dtype=float32" in str(half.error)
    assert not list((tmp_path / "float16").iterdir())
    assert wide.error is None
    for one in base:
        assert torch.isfinite(Checkpoint(tmp_path / "bfloat16").tensor(one)).all()


def test_values_that_overflow_float32(tmp_path: Path) -> None:
    base, specialists = random_family()
    one = recipe("task_arithmetic", lambda_=1e39)
    with pytest.raises(UserError, match=r"values of model\.embed_tokens\.weight are NaN or infinite.*merge\.lambda"):
        merge_one(tmp_path, base, specialists, one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_exponent_bits_tell_what_is_finite(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    assert is_finite(torch.tensor([0.0, -0.0, largest, -largest, 1e-7], dtype=dtype))
    for bad in (float("nan"), -float("nan"), float("inf"), -float("inf")):
        assert not is_finite(torch.tensor([1.0, bad, -1.0], dtype=dtype))
    assert is_finite(torch.empty(0, dtype=dtype))
    assert is_finite(torch.tensor([-1]))


def test_integers_that_differ(tmp_path: Path) -> None:
    base, specialists = random_family()
    for value, parent in enumerate((base, *specialists)):
        parent["position_ids"] = torch.tensor([value])
    assert "differs between base and codegen" in attempt(tmp_path, write_family(tmp_path, base, specialists))


def test_another_base(tmp_path: Path) -> None:
    base, specialists = random_family()
    stranger, _ = random_family(seed=7)
    assert "was not fine-tuned from" in attempt(tmp_path, write_family(tmp_path, base, [specialists[0], stranger]))


def test_a_specialist_may_have_moved_far(tmp_path: Path) -> None:
    """Six times the base's own length, as a freshly drawn base does in a rehearsal: it is one of its family still."""
    base, _ = random_family()
    far: list[Tensors] = [
        {name: tensor + 6 * tensor.std() * torch.randn(tensor.shape) for name, tensor in base.items()} for _ in range(2)
    ]
    parents = write_family(tmp_path, base, far)
    [outcome] = merge_grid(*parents, [MergeRequest(recipe("linear"), ToDirectory(tmp_path / "out"))])
    assert outcome.error is None


def test_a_base_left_behind_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, _ = random_family()
    ancestor = {name: tensor + 0.3 * torch.randn(tensor.shape) for name, tensor in base.items()}
    specialists: list[Tensors] = [
        {name: tensor + 0.01 * torch.randn(tensor.shape) for name, tensor in ancestor.items()} for _ in range(2)
    ]
    parents = write_family(tmp_path, base, specialists)
    merge_grid(*parents, [MergeRequest(recipe("linear"), ToDirectory(tmp_path / "out"))])
    assert "task vectors of codegen and codesum are nearly parallel (cosine 1.00)" in capsys.readouterr().err


def test_nothing_to_merge(tmp_path: Path) -> None:
    base, _ = write_family(tmp_path, *random_family())
    with pytest.raises(UserError, match="expected at least one specialist"):
        merge_grid(base, {}, [])


def test_tied_and_untied(tmp_path: Path) -> None:
    base, parents = write_family(tmp_path, *random_family())
    (base.path / "config.json").write_text('{"tie_word_embeddings": true}')
    assert "tie_word_embeddings=False" in attempt(tmp_path, (base, parents))


def tokenizer(directory: Path, vocabulary: dict[str, int], added: tuple[str, ...] = ()) -> None:
    extra = [{"content": token, "id": len(vocabulary) + i} for i, token in enumerate(added)]
    (directory / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": extra}))


def test_tokenizers_that_differ(tmp_path: Path) -> None:
    base, parents = write_family(tmp_path, *random_family())
    tokenizer(base.path, {"a": 0, "b": 1, "c": 2}, ("<end>",))
    tokenizer(parents["codegen"].path, {"a": 0, "b": 1, "c": 2}, ("<end>",))
    tokenizer(parents["codesum"].path, {"a": 0, "c": 1, "b": 2})
    message = attempt(tmp_path, (base, parents))
    assert (
        "'b' is 1 in the base, 2 here; 'c' is 2 in the base, 1 here; '<end>' is 3 in the base, absent here" in message
    )


@pytest.mark.parametrize("text", ["{", "{}", '{"model": {"vocab": 3}}'])
def test_corrupt_tokenizer(tmp_path: Path, text: str) -> None:
    base, parents = write_family(tmp_path, *random_family())
    (base.path / "tokenizer.json").write_text(text)
    tokenizer(parents["codegen"].path, {"a": 0})
    assert "tokenizer.json is corrupt" in attempt(tmp_path, (base, parents))


def test_exclude_that_matches_nothing(tmp_path: Path) -> None:
    parents = write_family(tmp_path, *random_family())
    with pytest.raises(UserError, match="matches no tensor"):
        merge_grid(*parents, [MergeRequest(recipe("linear", exclude="lm_haed"), ToDirectory(tmp_path / "out"))])


def test_one_failing_point_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the second point is full after its first tensor; the third cannot even be opened."""
    parents = write_family(tmp_path, *random_family())
    pwrite = os.pwrite

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        if "second" in os.readlink(f"/proc/self/fd/{descriptor}") and offset + len(data) > 4000:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    (tmp_path / "third").write_text("a file")
    points = [MergeRequest(recipe("ties"), ToDirectory(tmp_path / name)) for name in ("first", "second", "third")]
    first, second, third = merge_grid(*parents, points)
    assert first.error is None
    assert first.strength[-1].merged > 0
    assert Checkpoint(tmp_path / "first").names == parents[0].names
    assert "No space left on device" in str(second.error)
    assert second.strength == []
    assert not list((tmp_path / "second").iterdir())
    assert "cannot write the checkpoint" in str(third.error)


def test_a_parent_that_ends_early(tmp_path: Path) -> None:
    parents = write_family(tmp_path, *random_family())
    os.truncate(parents[1]["codesum"].path / "model.safetensors", 50_000)
    assert "is truncated" in attempt(tmp_path, parents)


def test_a_model_of_another_shape(tmp_path: Path) -> None:
    parents = write_family(tmp_path, *random_family())
    [outcome] = merge_grid(*parents, [MergeRequest(recipe("linear"), ToModel({"model.norm.weight": torch.ones(3)}))])
    assert "model.embed_tokens.weight is not in the model" in str(outcome.error)


def test_a_model_with_a_tensor_of_its_own_is_refused_and_a_tied_one_is_not(tmp_path: Path) -> None:
    parents = write_family(tmp_path, *random_family())
    state = {name: torch.zeros(info.shape, dtype=info.dtype) for name, info in parents[0].table.items()}
    tied = {**state, "tied": state["model.norm.weight"]}
    own = {**state, "lm_head.bias": torch.zeros(3)}
    outcomes = merge_grid(*parents, [MergeRequest(recipe("linear"), ToModel(held)) for held in (tied, own)])
    assert outcomes[0].error is None
    assert "lm_head.bias is missing" in str(outcomes[1].error)


def test_pickles_only_by_permission(tmp_path: Path) -> None:
    base, specialists = random_family()
    write_checkpoint(tmp_path / "base", base)
    (tmp_path / "codegen").mkdir()
    torch.save(specialists[0], tmp_path / "codegen" / "pytorch_model.bin")
    parents = Checkpoint(tmp_path / "base"), {"codegen": Checkpoint(tmp_path / "codegen", allow_pickle=True)}
    [outcome] = merge_grid(*parents, [MergeRequest(recipe("linear", weight=1.0), ToDirectory(tmp_path / "out"))])
    assert outcome.error is None
    assert torch.equal(Checkpoint(tmp_path / "out").tensor("model.norm.weight"), specialists[0]["model.norm.weight"])
