"""Recipes: coefficients, ranges, and the keys of every YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from src.merging import registry as methods
from src.merging.recipe import coefficients
from src.merging.registry import Method
from src.reporting.names import METHODS
from src.utils.errors import UserError
from tests.merging.tools import CONF, NAMES, method_keys, recipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "merging.md"


def test_weight_is_that_of_the_first() -> None:
    assert coefficients(0.3, None, ["a", "b"]) == {"a": 0.3, "b": 0.7}
    assert coefficients(0.4, None, ["a", "b", "c"]) == pytest.approx({"a": 0.4, "b": 0.3, "c": 0.3})
    assert coefficients(0.4, None, ["a"]) == {"a": 0.4}
    assert coefficients(None, None, ["a", "b"]) == {"a": 0.5, "b": 0.5}


def test_named_weights_go_first_and_follow_the_specialists() -> None:
    named = {"c": 0.2, "a": 0.3, "b": 0.5}
    assert list(coefficients(0.9, named, ["a", "b", "c"]).items()) == [("a", 0.3), ("b", 0.5), ("c", 0.2)]


@pytest.mark.parametrize("named", [{"a": 0.3}, {"a": 0.3, "b": 0.7, "x": 0.1}, {}])
def test_weights_that_name_others(named: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"merge\.weights names .*; expected a, b \(differs in [abx, ]+\)"):
        coefficients(None, named, ["a", "b"])


@pytest.mark.parametrize("weights", [{"a": 1.0, "b": -1.0}, {"a": 0.0, "b": 0.0}, {"a": 0.3, "b": -0.1, "c": -0.2}])
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("linear", {}),
        ("ties", {}),
        ("della", {}),
        ("dare", {"normalize": True}),
        ("slerp", {}),
        ("nuslerp", {}),
        ("fisher", {}),
        ("regmean", {}),
        ("adaptive", {}),
        ("mergekit", {"name": "ties"}),
        ("mergekit", {"name": "dare_linear", "parameters": {"normalize": True}}),
        ("linear", {"engine": "mergekit"}),
    ],
)
def test_coefficients_that_sum_to_zero_where_they_divide(
    name: str, keys: dict[str, Any], weights: dict[str, float]
) -> None:
    with pytest.raises(UserError, match=r"sum of the coefficients, which is zero: a .*merge\.weights"):
        recipe(name, weights=weights, **keys).coefficients(list(weights))


@pytest.mark.parametrize(
    ("name", "keys"),
    [("task_arithmetic", {}), ("dare", {}), ("linear", {"normalize": False}), ("ties", {"normalize": False})],
)
def test_coefficients_that_sum_to_zero_where_they_only_multiply(name: str, keys: dict[str, Any]) -> None:
    weights = {"a": 1.0, "b": -1.0}
    assert recipe(name, weights=weights, **keys).coefficients(["a", "b"]) == weights


@pytest.mark.parametrize("name", NAMES)
def test_yaml_is_the_keys_of_its_builder(name: str) -> None:
    content = method_keys(name)
    builder = getattr(methods, name)
    assert isinstance(builder, Method)
    assert content.pop("_target_") == builder.target == f"src.merging.registry.{name}"
    assert tuple(content) == builder.keys
    assert builder.arxiv is None or f"arXiv {builder.arxiv}" in (CONF / f"{name}.yaml").read_text()
    assert recipe(name).method == name


def test_the_page_describes_methods_as_their_yamls_do() -> None:
    table = PAGE.read_text().split("## Methods")[1].split("## Parameters")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, flags=re.MULTILINE))
    assert len(rows) > 15
    assert rows == {name: (CONF / f"{name}.yaml").read_text().splitlines()[0].removeprefix("# ") for name in rows}


def test_every_method_has_a_label_in_reports() -> None:
    assert sorted(METHODS) == NAMES


def test_every_method_has_a_yaml() -> None:
    assert sorted(value.name for value in vars(methods).values() if isinstance(value, Method)) == NAMES


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"weight": "heavy"}, "merge.weight must be a number, got 'heavy'"),
        ({"weight": float("nan")}, "merge.weight must be a finite number, got nan"),
        ({"weight": True}, "merge.weight must be a number, got True"),
        ({"weights": {"codegen": None}}, "merge.weights.codegen must be a number, got None"),
        ({"weights": 0.5}, "merge.weights must be a mapping"),
        ({"density": 0}, "merge.density must be above 0, got 0"),
        ({"density": 1.5}, "merge.density must be at most 1, got 1.5"),
        ({"density": "half"}, "merge.density must be a number, got 'half'"),
        ({"epsilon": 0.5}, r"must stay inside \(0, 1\), got 0.5 -\+ 0.5: lower merge.epsilon below 0.5"),
        ({"density": 0.9, "epsilon": 0.15}, "lower merge.epsilon below 0.1"),
        ({"rescale": "l3"}, "unknown merge.rescale 'l3'. Available: density, l1, none"),
        ({"normalize": 1}, "merge.normalize must be true or false, got 1"),
        ({"lambda": None}, "merge.lambda must be a number, got None"),
        ({"match_norm": "yes"}, "merge.match_norm must be true or false"),
        ({"exclude": "("}, r"merge.exclude must be a regular expression, got '\('"),
        ({"dtype": "float13"}, "unknown merge.dtype 'float13'"),
        ({"engine": "mergekitt"}, "unknown merge.engine 'mergekitt', did you mean 'mergekit'"),
        ({"densty": 0.5}, "merge=della: unknown keys densty; it takes weight, weights, .*, density, epsilon"),
        ({"lambda_": 0.5}, "unknown keys lambda_"),
    ],
)
def test_bad_values(keys: dict[str, Any], message: str) -> None:
    content = method_keys("della")
    del content["_target_"]
    with pytest.raises(UserError, match=message):
        methods.della(**content | keys)


def test_missing_keys() -> None:
    with pytest.raises(
        UserError, match="merge=linear: missing keys dtype, engine, exclude, generation_config, match_norm, normalize"
    ):
        methods.linear(weight=0.5, weights=None)


@pytest.mark.parametrize("name", NAMES)
def test_description_makes_the_recipe_again(name: str) -> None:
    keys = {"weight": 0.3} if "weight" in getattr(methods, name).keys else {}
    one = recipe(name, match_norm=True, **keys)
    described = json.loads(json.dumps(one.describe(["codegen", "codesum"])))
    again = methods.recipe_from(described)
    assert described["_target_"] == f"src.merging.registry.{name}"
    assert again.method == name
    assert described["weights"] == ({"codegen": 0.3, "codesum": 0.7} if keys else {"codegen": 0.5, "codesum": 0.5})
    assert again.rule == one.rule
    assert again.describe(["codegen", "codesum"]) == described


@pytest.mark.parametrize(
    "description", [{}, {"_target_": "src.merging.registry.tiess"}, {"_target_": "no_such_module.ties"}]
)
def test_descriptions_of_no_method(description: dict[str, str]) -> None:
    with pytest.raises(UserError, match="cannot import the merge method"):
        methods.recipe_from(description)


def test_the_description_of_a_function_that_is_no_method() -> None:
    with pytest.raises(UserError, match=r"src\.merging\.registry\.recipe_from is not a merge method"):
        methods.recipe_from({"_target_": "src.merging.registry.recipe_from"})
