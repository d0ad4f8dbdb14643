"""Published forms of recipes mean here what they mean in mergekit: the same tensors, up to float32 rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.merging.mergekit_yaml import zoo

QUICK = ("linear_soup", "task_arithmetic_negative", "breadcrumbs_ties", "model_stock", "sce")
ROUNDING = 5e-7  # of weights up to 1: an ulp of float32, or two where both sides sum in different orders


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.make_parents(tmp_path_factory.mktemp("zoo"), "llama")


@pytest.mark.parametrize("name", QUICK)
def test_a_recipe(parents: Path, name: str) -> None:
    found = zoo.compare(name, parents)
    assert max(found.recipe, found.written) <= ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_all_recipes_on_two_architectures(tmp_path: Path, architecture: str) -> None:
    root = zoo.make_parents(tmp_path, architecture)
    found = {name: zoo.compare(name, root) for name in zoo.NAMES}
    assert {name: one for name, one in found.items() if max(one.recipe, one.written) > ROUNDING} == {}
    assert len(found) >= 10
