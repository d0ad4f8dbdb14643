"""`verify`: one changed bit is found, a repeated merge holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToDirectory
from src.merging.engine.verify import verify_merge
from src.merging.registry import recipe_from
from src.utils.errors import UserError
from tests.merging.tools import random_family, recipe, write_family


@pytest.mark.parametrize("name", ["linear", "della"])
def test_holds_and_does_not(tmp_path: Path, name: str) -> None:
    base, parents = write_family(tmp_path, *random_family(dtype=torch.bfloat16))
    one = recipe(name, weight=0.3)
    merge_grid(base, parents, [MergeRequest(one, ToDirectory(tmp_path / "out"))])
    again = recipe_from(one.describe(list(parents)))
    found = verify_merge(Checkpoint(tmp_path / "out"), base, parents, again)
    assert found.holds
    assert found.sampled == base.names

    tensors = {tensor: Checkpoint(tmp_path / "out").tensor(tensor) for tensor in base.names}
    tensors["model.norm.weight"].view(torch.int16)[3] ^= 1
    write_checkpoint(tmp_path / "changed", tensors)
    found = verify_merge(Checkpoint(tmp_path / "changed"), base, parents, again)
    assert found.differing == ("model.norm.weight",)


def test_a_sample(tmp_path: Path) -> None:
    base, parents = write_family(tmp_path, *random_family())
    merge_grid(base, parents, [MergeRequest(recipe("ties"), ToDirectory(tmp_path / "out"))])
    out = Checkpoint(tmp_path / "out")
    found = verify_merge(out, base, parents, recipe("ties"), tensors=2)
    assert len(found.sampled) == 2
    assert found.holds
    assert verify_merge(out, base, parents, recipe("ties"), tensors=2).sampled == found.sampled
    assert verify_merge(out, base, parents, recipe("ties", weight=0.4), tensors=2).differing == found.sampled


def test_missing_tensors_and_other_dtypes(tmp_path: Path) -> None:
    base, parents = write_family(tmp_path, *random_family())
    write_checkpoint(tmp_path / "out", {"model.norm.weight": base.tensor("model.norm.weight").half()})
    found = verify_merge(Checkpoint(tmp_path / "out"), base, parents, recipe("linear"))
    assert found.differing == base.names


def test_tensors_beyond_the_recipe(tmp_path: Path) -> None:
    base, parents = write_family(tmp_path, *random_family())
    merge_grid(base, parents, [MergeRequest(recipe("linear"), ToDirectory(tmp_path / "out"))])
    tensors = {tensor: Checkpoint(tmp_path / "out").tensor(tensor) for tensor in base.names}
    write_checkpoint(tmp_path / "more", tensors | {"model.extra.weight": torch.ones(2)})
    found = verify_merge(Checkpoint(tmp_path / "more"), base, parents, recipe("linear"), tensors=None)
    assert found.differing == ("model.extra.weight",)
    assert found.total == len(found.sampled) == len(base.names)


def test_a_recipe_that_does_not_suit(tmp_path: Path) -> None:
    base, parents = write_family(tmp_path, *random_family(3))
    with pytest.raises(UserError, match=r"the merge of .*base cannot be repeated: slerp takes two specialists"):
        verify_merge(base, base, parents, recipe("slerp"))
