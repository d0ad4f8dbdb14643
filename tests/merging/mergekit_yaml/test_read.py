"""Recipes are read as mergekit reads them; a key that we cannot honor is an error with its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.merging.mergekit_yaml.parents import labels_of, parents_of
from src.merging.mergekit_yaml.read import Model, read_recipe
from src.merging.mergekit_yaml.translate import translate
from src.merging.schedule import Schedule
from src.utils.errors import UserError

MODULES = ("self_attn.q_proj", "mlp.up_proj", "mlp.down_proj")
NAMES = (
    "model.embed_tokens.weight",
    *(f"model.layers.{layer}.{module}.weight" for layer in range(4) for module in MODULES),
    "model.norm.weight",
    "lm_head.weight",
)
PAIR = [{"model": "a", "parameters": {"weight": 0.3}}, {"model": "b", "parameters": {"weight": 0.7}}]
TIES = {"merge_method": "ties", "base_model": "m", "models": PAIR}


@dataclass(frozen=True)
class Translated:
    method: str
    keys: dict[str, Any]
    notes: tuple[str, ...]
    base: str
    specialists: dict[str, str]


def translated(**content: Any) -> Translated:
    recipe = read_recipe(yaml.safe_dump(content))
    parents = parents_of(recipe)
    places, found = parents.places, translate(recipe, NAMES)
    return Translated(found.method, found.keys, found.notes, parents.base.path, places)


def sliced(*ranges: tuple[int, int], models: tuple[str, ...] = ("a", "b")) -> list[dict[str, Any]]:
    return [
        {"sources": [{"model": model, "layer_range": [*one], "parameters": {"weight": 0.5}} for model in models]}
        for one in ranges
    ]


def test_defaults_are_those_of_mergekit() -> None:
    ties = translated(**TIES)
    assert ties.keys == {
        "weights": {"a": 0.3, "b": 0.7}, "density": 1.0, "normalize": True, "rescale": "none", "lambda": 1.0,
        "trim": "tensor", "dtype": None, "tokenizer": "equal", "template": "base", "generation_config": "base",
    }  # fmt: skip
    assert (ties.method, ties.base, ties.specialists) == ("ties", "m", {"a": "a", "b": "b"})
    della = translated(**TIES | {"merge_method": "della"}).keys
    assert (della["epsilon"], della["density"], della["rescale"], della["normalize"]) == (0.15, 1.0, "l1", True)
    crumbs = translated(**TIES | {"merge_method": "breadcrumbs"}).keys
    assert (crumbs["gamma"], crumbs["rescale"], crumbs["normalize"]) == (0.01, "none", False)
    assert translated(**TIES | {"merge_method": "dare_linear"}).method == "dare"


def test_a_parameter_is_looked_up_in_the_model_then_the_slice_then_the_merge() -> None:
    models = [{"model": "a", "parameters": {"weight": 0.3}}, {"model": "b"}]
    found = translated(**TIES | {"models": models, "parameters": {"weight": "1e-1", "density": 0.5}})
    assert found.keys["weights"] == {"a": 0.3, "b": 0.1}  # YAML reads 1e-1 as text
    assert found.keys["density"] == 0.5
    slices = sliced((0, 4))
    slices[0]["parameters"] = {"weight": 0.9, "lambda": 2.0}
    del slices[0]["sources"][1]["parameters"]
    found = translated(merge_method="ties", base_model="m", slices=slices, parameters={"weight": 7})
    assert found.keys["weights"] == {"a": 0.5, "b": 0.9}
    assert found.keys["lambda"] == 2.0


def test_the_base_is_no_task_vector_but_an_input_of_a_mean() -> None:
    base = {"model": "m", "parameters": {"weight": 0.5}}
    ties = translated(**TIES | {"models": [base, *PAIR]})
    assert ties.specialists == {"a": "a", "b": "b"}
    assert ties.notes == ("parameters of base_model do not change the result of ties",)
    linear = {"merge_method": "linear", "base_model": "m"}
    assert translated(**linear, models=[*PAIR, base]).keys["weights"] == {"a": 0.3, "b": 0.7, "m": 0.5}
    assert translated(**linear, models=PAIR, parameters={"weight": 2}).keys["weights"]["m"] == 2.0
    assert translated(merge_method="linear", models=PAIR).base == "a"
    with pytest.raises(UserError, match=r"parameters.weight of m is missing"):
        translated(**linear, models=PAIR)


def test_slerp_counts_t_from_the_base() -> None:
    slices = sliced((0, 4))
    for source in slices[0]["sources"]:
        del source["parameters"]
    for base, weights in (("a", {"a": 0.75, "b": 0.25}), ("b", {"b": 0.75, "a": 0.25})):
        found = translated(merge_method="slerp", base_model=base, slices=slices, parameters={"t": 0.25})
        assert (found.keys["weights"], found.keys["space"]) == (weights, "weights")


def test_the_base_of_spherical_methods_is_the_origin() -> None:
    assert translated(merge_method="nuslerp", models=PAIR).keys["space"] == "weights"
    found = translated(merge_method="nuslerp", base_model="m", models=PAIR, parameters={"nuslerp_flatten": False})
    assert (found.keys["space"], found.keys["by_row"]) == ("deltas", True)
    assert translated(merge_method="karcher", base_model="m", models=PAIR_WITHOUT).specialists.keys() == {"a", "b", "m"}


PAIR_WITHOUT = [{"model": "a"}, {"model": "b"}]


def test_lists_and_filters_become_schedules() -> None:
    weight = [{"filter": "mlp", "value": [0.1, 0.9]}, {"filter": "mlp", "value": 7}, {"value": 0.5}]
    models = [{"model": "a", "parameters": {"weight": weight, "density": [1, 0.5]}}, PAIR[1]]
    found = translated(**TIES | {"models": models})
    assert found.keys["weights"] == {"a": [{"mlp": [0.1, 0.9]}, {"default": 0.5}], "b": 0.7}
    assert found.keys["density"] == {"a": [1.0, 0.5], "b": 1.0}
    assert found.notes == ("filter mlp of weight decides for no tensor",)
    models = [{"model": "a", "parameters": {"weight": {"filter": "q_proj", "value": 1}}}, PAIR[1]]
    found = translated(
        **TIES | {"models": models, "parameters": {"weight": 0.2, "lambda": [{"filter": "x", "value": 3}]}}
    )
    assert found.keys["weights"]["a"] == [{"q_proj": 1.0}, {"default": 0.2}]  # of the model, then of the merge
    assert found.keys["lambda"] == 1.0  # mergekit's default for what no filter matches
    with pytest.raises(UserError, match=r"parameters.weight of a is missing for some tensors"):
        translated(**TIES | {"models": models})


def test_a_gradient_of_slerp_counts_for_both_models() -> None:
    t = [{"filter": "self_attn", "value": [0, 0.25, 1]}, {"value": 0.5}]
    found = translated(merge_method="slerp", base_model="a", models=PAIR_WITHOUT, parameters={"t": t})
    assert found.keys["weights"] == {
        "a": [{"self_attn": [1.0, 0.75, 0.0]}, {"default": 0.5}],
        "b": [{"self_attn": [0.0, 0.25, 1.0]}, {"default": 0.5}],
    }


def test_slices_in_order_have_their_own_gradients() -> None:
    slices = sliced((0, 2), (2, 4))
    slices[1]["sources"][0]["parameters"] = {"weight": 0.2}
    slices[1]["sources"][1]["parameters"] = {"weight": [{"filter": "mlp", "value": [0.6, 0.8]}, {"value": 0.1}]}
    found = translated(merge_method="linear", slices=slices).keys["weights"]
    first, second = (Schedule.of("weight", value) for value in found.values())
    for module in MODULES:
        names = [f"model.layers.{layer}.{module}.weight" for layer in range(4)]
        assert [first.at(name, 0.0) for name in names] == [0.5, 0.5, 0.2, 0.2]
        assert [second.at(name, 0.0) for name in names] == [0.5, 0.5, *([0.6, 0.8] if "mlp" in module else [0.1, 0.1])]
    ends = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    assert [second.at(name, 0.0) for name in ends] == [0.5, 0.1, 0.1]  # of the first slice, and of the last


def test_tensors_without_any_coefficient_keep_the_base() -> None:
    """mergekit divides by 1 there; here coefficients that sum to zero are refused."""
    zero = [{"filter": "lm_head", "value": 0}, {"filter": "embed", "value": [0, 0]}, {"value": 0.5}]
    found = translated(**TIES | {"models": PAIR_WITHOUT, "parameters": {"weight": zero}})
    assert found.keys["exclude"] == "lm_head|embed"
    assert found.notes == ()
    assert found.keys["weights"] == {"a": 0.5, "b": 0.5}
    found = translated(**TIES | {"models": PAIR_WITHOUT, "parameters": {"weight": [0, 1]}})
    assert found.keys["exclude"].count("$") == 6  # the first layer, and what is outside of layers
    assert "^model\\.layers\\.0\\.mlp\\.up_proj\\.weight$" in found.keys["exclude"]


def test_methods_of_mergekit_alone_run_in_it() -> None:
    found = translated(merge_method="nearswap", base_model="a", models=PAIR_WITHOUT, parameters={"t": 0.01})
    assert (found.method, list(found.specialists)) == ("mergekit", ["a", "b"])
    assert found.keys.items() >= {"name": "nearswap", "parameters": {"t": 0.01}, "weight": None}.items()
    found = translated(merge_method="ram", base_model="m", models=PAIR_WITHOUT)
    assert found.keys["parameters"] == {"epsilon": 1e-5}
    with pytest.raises(UserError, match=r"parameters.t: expected one value"):
        translated(merge_method="nearswap", base_model="a", models=PAIR_WITHOUT, parameters={"t": [0, 1]})


def test_int8_mask_is_tolerated_with_a_word() -> None:
    found = translated(merge_method="model_stock", base_model="m", models=PAIR_WITHOUT, parameters={"int8_mask": True})
    assert found.notes == ("int8_mask does not change the result of model_stock",)


def test_models_as_text_and_as_mappings() -> None:
    models = [
        {"model": "m+org/adapter@v1", "parameters": {"weight": 1}},
        {"model": {"model": {"path": "org/x", "revision": "main"}}, "parameters": {"weight": 1}},
    ]
    found = translated(merge_method="task_arithmetic", base_model="m", models=models)
    assert found.specialists == {"adapter@v1": "org/adapter@v1", "x@main": "org/x@main"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"merge_method": "tise"}, "merge_method 'tise', did you mean 'ties'"),
        ({"merge_method": "passthrough"}, "merge_method: passthrough: .*another network"),
        ({"merge_method": None}, "merge_method must be"),
        ({"modules": {}}, "modules: .* not supported"),
        ({"models": None}, "models must be a list"),
        ({"slices": sliced((0, 4))}, "either models or slices"),
        ({"base_model": None}, "base_model is missing; ties"),
        ({"base_modle": "m"}, "unknown key 'base_modle', did you mean 'base_model'"),
        ({"dtype": "float8"}, "dtype 'float8'"),
        ({"out_dtype": "float64"}, "out_dtype 'float64'"),
        ({"models": [*PAIR, {"model": "c", "weight": 1}]}, r"key 'models\[2\].weight'"),
        ({"models": [*PAIR, PAIR[0]]}, "models: a is named twice"),
        ({"models": [{"model": "m", "parameters": {"weight": 1}}]}, "models: ties takes at least 1 .* got 0"),
        ({"models": PAIR_WITHOUT}, "parameters.weight of a is missing"),
        ({"models": [{"model": 3}]}, r"models\[0\].model must be"),
        ({"models": [{"model": "a+b+c"}]}, r"models\[0\].model must be a model, or model\+adapter"),
        ({"models": [{"model": "x+y", "parameters": {"weight": 1}}]}, "x.y: its adapter is on another model"),
        ({"base_model": "m+lora"}, "base_model: m.lora: an adapter cannot be the base"),
        ({"parameters": {"densty": 1}}, "in parameters 'densty', did you mean 'density'"),
        ({"parameters": {"density": "much"}}, "parameters.density must be a number, got 'much'"),
        ({"parameters": {"density": True}}, "parameters.density must be a number, got True"),
        ({"parameters": {"density": []}}, "parameters.density is an empty list"),
        ({"parameters": {"density": [{"value": 1, "filtre": "mlp"}]}}, r"parameters.density\[0\]: expected value and"),
        ({"parameters": {"density": {"filter": 3, "value": 1}}}, "parameters.density.filter must be"),
        ({"parameters": {"normalize": "maybe"}}, "parameters.normalize must be true or false"),
        ({"parameters": {"normalize": [True, False]}}, "parameters.normalize: expected one value"),
        ({"parameters": [1]}, "parameters must be a mapping"),
        ({"models": [{"model": "a", "parameters": {"weight": 1, "normalize": True}}]}, "normalize: is for all models"),
        ({"tokenizer_source": "base", "tokenizer": {"source": "base"}}, "tokenizer and tokenizer_source"),
        ({"tokenizer": {"source": "base", "tokens": {"x": {}}}}, "tokenizer.tokens is not supported"),
        ({"tokenizer": {"source": "base", "pad_to_multiple_of": 8}}, "tokenizer.pad_to_multiple_of is not"),
        ({"tokenizer_source": "other"}, "tokenizer_source: other is none of the models"),
        ({"chat_template": ["x"]}, "chat_template must be text"),
    ],
)  # fmt: skip
def test_an_error_names_the_key(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        translated(**TIES | change)


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        (sliced((0, 2), (1, 4)), r"slices\[1\]: begins with layer 1: layers that repeat, move"),
        (sliced((1, 4)), r"slices\[0\]: begins with layer 1"),
        (sliced((0, 3)), r"slices\[0\]: ends with layer 3 of 4"),
        (sliced((0, 2)) + sliced((2, 4), models=("a", "c")), r"slices\[1\].sources: other models"),
        ([{"sources": [{"model": "a", "layer_range": [0, 2]}, {"model": "b", "layer_range": [2, 4]}]}], "layer_range"),
        ([{"sources": [{"model": "a", "layer_range": [0]}]}], r"slices\[0\].sources\[0\].layer_range: expected"),
        ([{"sources": [{"model": "a"}], "residual_weight": 1}], r"key 'slices\[0\].residual_weight'"),
    ],
)
def test_layers_that_move_are_refused(slices: list[Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        translated(merge_method="linear", slices=slices)


@pytest.mark.parametrize("text", ["a: [", "- a", "merge_method: linear\n---\nmerge_method: ties"])
def test_what_is_no_recipe(text: str) -> None:
    with pytest.raises(UserError, match=r"YAML|mapping"):
        read_recipe(text)


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("base", {"tokenizer": "base", "template": None}),
        ("union", {"tokenizer": "union", "template": None}),
        ("m", {"tokenizer": "base", "template": None}),
        ("b", {"tokenizer": "equal", "template": "b"}),
        (None, {"tokenizer": "equal", "template": "base"}),
    ],
)
def test_tokenizers(source: str | None, keys: dict[str, str | None]) -> None:
    assert translated(**TIES, tokenizer_source=source).keys.items() >= keys.items()
    if source:
        assert translated(**TIES, tokenizer={"source": source}).keys.items() >= keys.items()


def test_labels_are_short_and_unique(tmp_path: Path) -> None:
    for run in ("one", "two"):
        (tmp_path / run / "checkpoint-500").mkdir(parents=True)
    runs = [f"{tmp_path}/{run}/checkpoint-500" for run in ("one", "two")]
    models = [Model(path) for path in ("org/coder-7b", "other/coder-7b", "org/m@v1", "/x/base", *runs)]
    models.append(Model("org/m", "org/adapter"))
    assert list(labels_of(models)) == [
        "org-coder-7b", "other-coder-7b", "m@v1", "x-base", "one-checkpoint-500", "two-checkpoint-500", "adapter",
    ]  # fmt: skip
