"""Published forms of recipes mean here what they mean in mergekit: the same tensors, up to float32 rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.checkpoints import Checkpoint
from tests.merging.mergekit_yaml import zoo
from tests.merging.tools import largest_difference

QUICK = (
    *("linear_soup", "slerp_gradients", "ties_readme", "task_arithmetic_negative", "breadcrumbs_ties"),
    *("model_stock", "sce", "slices_in_order", "nuslerp"),
)
ROUNDING = 5e-7  # of weights up to 1: an ulp of float32, or two where both sides sum in different orders


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.make_parents(tmp_path_factory.mktemp("zoo"), "llama")


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.make_parents(tmp_path_factory.mktemp("tied"), "qwen2")


@pytest.mark.parametrize("name", QUICK)
def test_a_recipe(parents: Path, name: str) -> None:
    found = zoo.compare(name, parents)
    assert max(found.recipe, found.written) <= ROUNDING


def test_the_zoo_is_a_zoo() -> None:
    assert len({zoo.content(name, Path())["merge_method"] for name in zoo.NAMES}) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.NAMES)
def test_all_recipes_on_two_architectures(parents: Path, tied: Path, name: str) -> None:
    found = [zoo.compare(name, root) for root in (parents, tied)]
    assert max(max(one.recipe, one.written) for one in found) <= ROUNDING


@pytest.mark.parametrize("name", zoo.RANDOM)
def test_random_masks_keep_as_much_as_those_of_mergekit(parents: Path, tmp_path: Path, name: str) -> None:
    """The fraction of elements that no model changes, and the size of the change, in 44,000 elements."""
    node = zoo.content(name, parents)
    base = Checkpoint(parents / "models" / "base")
    measured = []
    for merged in (zoo.Merge.of(node).run(), zoo.theirs(node, tmp_path)):
        changes = torch.cat([(merged[key].float() - base.tensor(key).float()).flatten() for key in base.names])
        measured.append([float((changes == 0).float().mean()), float(changes.abs().mean())])
    (unchanged, size), (reference, reference_size) = measured
    assert reference > 0.05
    assert unchanged == pytest.approx(reference, abs=0.01)  # 5 standard deviations of a fraction of 0.2
    assert size == pytest.approx(reference_size, rel=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from peft, here and in mergekit
def test_an_adapter_is_merged_as_mergekit_does(parents: Path, tmp_path: Path) -> None:
    import peft
    import transformers

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    model = transformers.AutoModelForCausalLM.from_pretrained(parents / "models" / "base").float()
    model.save_pretrained(base)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.01)
    tuned.save_pretrained(adapter)
    node = {
        "merge_method": "task_arithmetic",
        "base_model": str(base),
        "models": [
            {"model": f"{base}+{adapter}", "parameters": {"weight": 0.7}},
            {"model": str(parents / "models" / "code"), "parameters": {"weight": 0.5}},
        ],
        "dtype": "float32",
    }
    merge = zoo.Merge.of(node)
    assert list(merge.specialists.values()) == [adapter, parents / "models" / "code"]
    assert merge.written()["models"][0]["model"] == f"{base}+{adapter}"
    assert largest_difference(merge.run(), zoo.theirs(node, tmp_path / "theirs")) <= ROUNDING
