"""Recipes in the form that published models carry, run by mergekit and by us, and compared tensor by tensor.

    python -m tests.merging.mergekit_yaml.zoo                 # prints the table of docs/merging.md

The parents are small models of two architectures. Both sides compute in float32; mergekit sorts stably, since equal
magnitudes otherwise stay in any order. Recipes with random masks are compared at density 1.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from src.checkpoints import Checkpoint
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToFunction
from src.merging.mergekit_yaml.counterparts import BY_MERGEKIT_NAME
from src.merging.mergekit_yaml.parents import parents_of
from src.merging.mergekit_yaml.read import read_recipe
from src.merging.mergekit_yaml.translate import translate
from src.merging.mergekit_yaml.write import mergekit_yaml
from src.merging.recipe import Recipe
from src.merging.tensors.parent import open_parents
from tests.merging.tools import Tensors, largest_difference, recipe

RECIPES = Path(__file__).with_name("recipes")
NAMES = sorted(path.stem for path in RECIPES.glob("*.yml"))
RANDOM = ("dare_ties", "dare_linear", "della")
ARCHITECTURES = ("qwen2", "llama")
LAYERS = 4
PARENTS = ("base", "code", "math", "chat")


def make_parents(root: Path, architecture: str) -> Path:
    """Four bfloat16 checkpoints in `root/models`; the specialists are the base and 0.01, 0.005, 0.003 times noise."""
    import transformers

    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[architecture](
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=architecture == "qwen2",
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).bfloat16()
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for number, name in enumerate(PARENTS):
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape) * (0.01 / number if number else 0)
            parameter.data = start[key] + noise.bfloat16()
        model.save_pretrained(root / "models" / name)
    return root


def content(name: str, root: Path) -> dict[str, Any]:
    """A recipe with the paths of its parents, in float32 if we compute it ourselves."""
    found: dict[str, Any] = yaml.safe_load((RECIPES / f"{name}.yml").read_text().replace("models/", f"{root}/models/"))
    is_ours = BY_MERGEKIT_NAME[found["merge_method"]].ours != "mergekit"  # that one computes in the stored dtype
    return found | ({"dtype": "float32", "out_dtype": "float32"} if is_ours else {})


def dense(node: Any) -> Any:
    """The same with density 1: masks drawn at random cannot be equal."""
    if isinstance(node, dict):
        return {key: 1.0 if key == "density" else dense(value) for key, value in node.items()}
    return [dense(entry) for entry in node] if isinstance(node, list) else node


@dataclass(frozen=True)
class Merge:
    """A recipe with its parents."""

    recipe: Recipe
    base: Path
    specialists: Mapping[str, Path]

    @classmethod
    def of(cls, node: dict[str, Any]) -> Merge:
        """The merge that a mergekit YAML describes."""
        read = read_recipe(yaml.safe_dump(node))
        parents = parents_of(read)
        base, places = Path(parents.base.path), {label: Path(place) for label, place in parents.places.items()}
        found = translate(read, Checkpoint(base).names)
        return cls(recipe(found.method, **found.keys), base, places)

    def run(self) -> Tensors:
        """The merged tensors, by our engine."""
        merged: Tensors = {}
        parents = open_parents(self.base, self.specialists)
        [result] = merge_grid(*parents, [MergeRequest(self.recipe, ToFunction(merged.__setitem__))])
        if result.error is not None:
            raise result.error
        return merged

    def written(self) -> dict[str, Any]:
        """The YAML that is written beside the merge."""
        labels = list(self.specialists)
        text = mergekit_yaml(self.recipe.describe(labels), self.base, self.specialists, "float32")
        found: dict[str, Any] = yaml.safe_load(text)
        return found


def theirs(node: dict[str, Any], directory: Path) -> Tensors:
    """mergekit's merge of a recipe, by its own pipeline."""
    with warnings.catch_warnings(), stable_sorts():
        warnings.simplefilter("ignore")
        from mergekit.config import MergeConfiguration
        from mergekit.merge import run_merge
        from mergekit.options import MergeOptions

        options = MergeOptions(
            copy_tokenizer=False,
            write_model_card=False,
            quiet=True,
            random_seed=0,
            lora_merge_cache=str(directory / "adapters"),
        )
        run_merge(MergeConfiguration.model_validate(node), str(directory), options)
    written = Checkpoint(directory)
    return {name: written.tensor(name) for name in written.names}


@contextlib.contextmanager
def stable_sorts() -> Iterator[None]:
    """Let torch's sorts, which mergekit calls, leave equal elements in their order."""
    with (
        mock.patch.object(torch, "argsort", partial(torch.argsort, stable=True)),
        mock.patch.object(torch, "sort", partial(torch.sort, stable=True)),
        mock.patch.object(torch, "topk", _stable_topk),
    ):
        yield


def _stable_topk(values: torch.Tensor, k: int, largest: bool) -> tuple[torch.Tensor, torch.Tensor]:
    found = torch.sort(values, descending=largest)
    return found.values[:k], found.indices[:k]


@dataclass(frozen=True)
class Comparison:
    """Largest difference of any element: between both merges of a recipe, and of the YAML that we write for it."""

    method: str
    recipe: float
    written: float


def compare(name: str, root: Path) -> Comparison:
    """Run a recipe here and there, and what we write for it there."""
    node = content(name, root)
    node = dense(node) if name in RANDOM else node
    merge = Merge.of(node)
    ours = merge.run()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        differences = [
            largest_difference(ours, theirs(one, Path(place)))
            for one, place in ((node, first), (merge.written(), second))
        ]
    return Comparison(node["merge_method"], *differences)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as directory:
        places = {name: make_parents(Path(directory) / name, name) for name in ARCHITECTURES}
        print("| recipe | method |" + "".join(f" {one} | written, {one} |" for one in ARCHITECTURES))
        print("|---|---|" + "---|---|" * len(ARCHITECTURES))
        for name in NAMES:
            found = [compare(name, places[one]) for one in ARCHITECTURES]
            cells = "".join(f" {one.recipe:.1e} | {one.written:.1e} |" for one in found)
            print(f"| `{name}.yml` | {found[0].method} |{cells}")


if __name__ == "__main__":
    main()
