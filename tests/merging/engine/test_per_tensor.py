"""Coefficients and settings per tensor: a point equals, tensor by tensor, the plain points that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToNowhere
from src.merging.engine.verify import verify_merge
from src.merging.registry import recipe_from
from src.utils.errors import UserError
from tests.merging.tools import SHAPES, merge_all, random_family, recipe, write_family

LABELS = ["codegen", "codesum"]
EMBED, FIRST, BIAS, LAST, NORM = SHAPES


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, dict[str, Checkpoint]]:
    return write_family(tmp_path_factory.mktemp("family"), *random_family())


@pytest.mark.parametrize(
    ("name", "keys", "plain"),
    [
        ("linear", {"weight": [0.2, 0.8]}, {FIRST: {"weight": 0.2}, LAST: {"weight": 0.8}, NORM: {"weight": 0.2}}),
        (
            "ties",
            {"weights": {"codegen": [0.2, 0.8], "codesum": 0.5}, "density": {"mlp": [0.1, 0.7], "default": 1.0}},
            {
                EMBED: {"weights": {"codegen": 0.2, "codesum": 0.5}, "density": 1.0},
                FIRST: {"weights": {"codegen": 0.2, "codesum": 0.5}, "density": 0.1},
                BIAS: {"weights": {"codegen": 0.2, "codesum": 0.5}, "density": 1.0},
                LAST: {"weights": {"codegen": 0.8, "codesum": 0.5}, "density": 0.7},
            },
        ),
        (
            "della",
            {"density": [0.2, 0.6], "epsilon": [0.1, 0.3], "lambda_": {"norm": 0.0, "default": 2.0}},
            {
                LAST: {"density": 0.6, "epsilon": 0.3, "lambda_": 2.0},
                NORM: {"density": 0.2, "epsilon": 0.1, "lambda_": 0.0},
            },
        ),
        ("breadcrumbs", {"gamma": {"bias": 0.3, "default": 0.01}}, {BIAS: {"gamma": 0.3}, LAST: {"gamma": 0.01}}),
        ("slerp", {"weight": {"mlp": [0.0, 1.0], "": 0.25}}, {FIRST: {"weight": 0.0}, BIAS: {"weight": 0.25}}),
        ("tsv", {"lambda_": [0.5, 1.5]}, {FIRST: {"lambda_": 0.5}, LAST: {"lambda_": 1.5}}),
        ("ties", {"trim": "model", "density": [0.1, 0.3]}, {FIRST: {"density": 0.1}, LAST: {"density": 0.3}}),
        ("ties", {"engine": "mergekit", "density": [0.1, 0.3]}, {FIRST: {"density": 0.1}, LAST: {"density": 0.3}}),
        ("ties", {"match_norm": True, "weight": [0.1, 0.9]}, {FIRST: {"weight": 0.1}, LAST: {"weight": 0.9}}),
    ],
)
def test_every_tensor_is_that_of_a_plain_point(
    family: tuple[Checkpoint, dict[str, Checkpoint]], name: str, keys: dict[str, Any], plain: dict[str, dict[str, Any]]
) -> None:
    points = [recipe(name, **keys), *(recipe(name, **keys | one) for one in plain.values())]
    [varied, *others], _ = merge_all(*family, points)
    for tensor, other in zip(plain, others, strict=True):
        assert torch.equal(varied[tensor], other[tensor]), tensor


def test_the_record_rebuilds_the_recipe_and_the_merge_can_be_verified(
    family: tuple[Checkpoint, dict[str, Checkpoint]], tmp_path: Path
) -> None:
    base, specialists = family
    one = recipe("ties", weights={"codegen": {"mlp": 0.9, "": 0.3}, "codesum": [0.8, 0.2]}, density=[0.2, 0.9])
    described = json.loads(json.dumps(one.describe(LABELS), sort_keys=True))
    assert described["weights"] == {"codegen": [{"mlp": 0.9}, {"": 0.3}], "codesum": [0.8, 0.2]}
    assert described["density"] == [0.2, 0.9]
    again = recipe_from(described)
    assert again.describe(LABELS) == described
    [merged, repeated], _ = merge_all(base, specialists, [one, again])
    assert all(torch.equal(merged[name], repeated[name]) for name in merged)
    write_checkpoint(tmp_path / "merge", merged)
    assert verify_merge(Checkpoint(tmp_path / "merge"), base, specialists, again, tensors=2, seed=1).holds


def test_the_realized_density_is_that_of_the_layer(family: tuple[Checkpoint, dict[str, Checkpoint]]) -> None:
    base, specialists = family
    [result] = merge_grid(base, specialists, [MergeRequest(recipe("ties", density=[0.1, 0.5]), ToNowhere())])
    found = {layer.layer: layer.density for layer in result.strength}
    assert found["layers.0"]["codegen"] == pytest.approx(0.1, abs=1e-4)
    assert found["layers.1"]["codegen"] == pytest.approx(0.5, abs=1e-4)


def test_a_specialist_that_keeps_all_beside_one_that_does_not(
    family: tuple[Checkpoint, dict[str, Checkpoint]],
) -> None:
    one = recipe("ties", density={"codegen": 1.0, "codesum": [0.1, 0.5]})
    [result] = merge_grid(*family, [MergeRequest(one, ToNowhere())])
    found = {layer.layer: layer.density for layer in result.strength}
    assert found["layers.0"] == pytest.approx({"codegen": 1.0, "codesum": 0.1}, abs=1e-4)
    assert found["layers.1"] == pytest.approx({"codegen": 1.0, "codesum": 0.5}, abs=1e-4)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"density": [0.5, 1.5], "lambda_": [1, 2]}, "merge.density must be at most 1, got 1.5"),
        ({"density": {"moe": 0.1, "default": 0.2}}, "merge.density: 'moe' matches no merged tensor"),
        ({"density": {"mlp": 0.1}}, r"merge\.density has no pattern for 3 tensors .*model\.embed_tokens\.weight"),
        ({"weights": {"codegen": [0.5, 1.0], "codesum": [0.5, -1.0]}}, f"zero in {LAST}: codegen 1, codesum -1"),
        ({"exclude": "bias", "density": {"bias": 0.1, "default": 0.2}}, "'bias' matches no merged tensor"),
    ],
)
def test_an_error_ends_its_point_alone(
    family: tuple[Checkpoint, dict[str, Checkpoint]], keys: dict[str, Any], message: str
) -> None:
    points = [MergeRequest(recipe("ties", **one), ToNowhere()) for one in (keys, {})]
    [failed, held] = merge_grid(*family, points)
    assert held.error is None
    with pytest.raises(type(failed.error) if failed.error else AssertionError, match=message):
        raise failed.error or AssertionError("no error")


@pytest.mark.parametrize("key", ["seed", "normalize", "rescale"])
def test_keys_that_are_not_numbers_do_not_differ_between_tensors(key: str) -> None:
    with pytest.raises(Exception, match=f"merge.{key}"):
        recipe("della", **{key: [1, 2]})


@pytest.mark.parametrize("density", [[0.1, 1.5], {"codegen": 0.1, "codesum": [1.5, 0.1]}, {"mlp": 1.5, "default": 0.1}])
def test_a_value_out_of_its_range_is_said_before_the_parents_are_read(density: Any) -> None:
    with pytest.raises(UserError, match=r"merge\.density must be at most 1, got 1\.5"):
        recipe("ties", density=density)
