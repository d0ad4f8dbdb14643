"""Identities and scaling laws that hold for any parents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.merging.tools import (
    Tensors,
    identical,
    largest_difference,
    merge_all,
    merge_one,
    random_family,
    recipe,
    write_family,
)  # fmt: skip

PRODUCT = ["task_arithmetic", "ties", "dare", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties"]
ALL = ["linear", *PRODUCT]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def family(request: pytest.FixtureRequest) -> tuple[Tensors, list[Tensors]]:
    return random_family(dtype=request.param)


def test_linear_with_all_weight_on_one_is_that_one(tmp_path: Path, family: tuple[Tensors, list[Tensors]]) -> None:
    assert identical(merge_one(tmp_path, *family, recipe("linear", weight=1.0)), family[1][0])


def test_ties_of_one_model_at_full_density_is_that_model(tmp_path: Path) -> None:
    base, [only] = random_family(1)
    merged = merge_one(tmp_path, base, [only], recipe("ties", weight=1.0, density=1.0))
    assert largest_difference(merged, only) < 5e-7  # base + (A - base) rounds


def test_task_arithmetic_is_linear_where_weights_sum_to_one(tmp_path: Path) -> None:
    base, specialists = random_family()
    parents = write_family(tmp_path, base, specialists)
    [linear, arithmetic], _ = merge_all(*parents, [recipe("linear", weight=0.3), recipe("task_arithmetic", weight=0.3)])
    assert 0 < largest_difference(linear, arithmetic) < 1e-6


def test_dare_at_full_density_is_task_arithmetic(tmp_path: Path, family: tuple[Tensors, list[Tensors]]) -> None:
    points = [recipe("dare", weight=0.3, density=1.0), recipe("task_arithmetic", weight=0.3)]
    [dare, arithmetic], _ = merge_all(*write_family(tmp_path, *family), points)
    assert identical(dare, arithmetic)


def test_della_without_epsilon_is_dare_ties(tmp_path: Path, family: tuple[Tensors, list[Tensors]]) -> None:
    points = [recipe("della", weight=0.3, epsilon=0.0), recipe("dare_ties", weight=0.3, normalize=True)]
    [della, dare], _ = merge_all(*write_family(tmp_path, *family), points)
    assert identical(della, dare)


@pytest.mark.parametrize("name", ALL)
def test_no_coefficient_no_change(tmp_path: Path, family: tuple[Tensors, list[Tensors]], name: str) -> None:
    base, specialists = family
    zero = {"codegen": 0.0, "codesum": 0.0}
    merged = merge_one(tmp_path, base, specialists, recipe(name, weights=zero, normalize=False))
    expected = {n: torch.zeros_like(t) for n, t in base.items()} if name == "linear" else base
    assert identical(merged, expected)


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "ties"])
def test_identical_parents(tmp_path: Path, name: str) -> None:
    """Merging equal models is that model; TIES trims it, so at full density."""
    base, [first, _] = random_family(dtype=torch.bfloat16)
    keys = {"density": 1.0} if name == "ties" else {}
    merged = merge_one(tmp_path, base, [first, first], recipe(name, weight=0.3, **keys))
    assert identical(merged, first)


@pytest.mark.parametrize("name", ALL)
def test_specialists_equal_to_the_base_give_the_base(tmp_path: Path, name: str) -> None:
    base, _ = random_family(dtype=torch.bfloat16)
    assert identical(merge_one(tmp_path, base, [base, base], recipe(name, weight=0.5)), base)


@pytest.mark.parametrize("name", ["linear", "ties", "della"])
def test_normalized_methods_forget_a_common_factor(tmp_path: Path, name: str) -> None:
    """Bit-identical for powers of two: 1/1 is 0.5/0.5 and 0.25/0.25 (METHODS of the study, 1.3)."""
    parents = write_family(tmp_path, *random_family())
    points = [recipe(name, weights={"codegen": w, "codesum": w}) for w in (0.5, 1.0, 0.25)]
    [half, one, quarter], _ = merge_all(*parents, points)
    assert identical(half, one)
    assert identical(half, quarter)


@pytest.mark.parametrize("name", ["task_arithmetic", "dare", "dare_ties", "della_linear", "breadcrumbs"])
def test_other_methods_scale_with_a_common_factor(tmp_path: Path, name: str) -> None:
    parents = write_family(tmp_path, *random_family())
    points = [recipe(name, weights={"codegen": w, "codesum": w}) for w in (0.5, 1.0)]
    _, [half, one] = merge_all(*parents, points)
    assert one.strength[-1].merged == 2 * half.strength[-1].merged


@pytest.mark.parametrize("name", PRODUCT)
def test_lambda_scales_the_merged_delta(tmp_path: Path, name: str) -> None:
    parents = write_family(tmp_path, *random_family())
    _, [one, half] = merge_all(*parents, [recipe(name), recipe(name, lambda_=0.5)])
    assert half.strength[-1].merged == one.strength[-1].merged / 2


def test_order_of_linear_parents_is_a_matter_of_rounding(tmp_path: Path) -> None:
    """Its fused multiply-adds round once per parent, so the last bit depends on who comes first."""
    opened, parents = write_family(tmp_path, *random_family())
    one = recipe("linear", weights={"codegen": 0.3, "codesum": 0.7})
    [merged], _ = merge_all(opened, parents, [one])
    [swapped], _ = merge_all(opened, dict(reversed(parents.items())), [one])
    assert 0 < largest_difference(merged, swapped) < 5e-7


@pytest.mark.parametrize("name", ["task_arithmetic", "ties", "breadcrumbs"])
def test_order_of_two_parents_is_indifferent(tmp_path: Path, name: str) -> None:
    base, specialists = random_family()
    weights = {"codegen": 0.3, "codesum": 0.7}
    opened, parents = write_family(tmp_path, base, specialists)
    swapped = dict(reversed(parents.items()))
    one = recipe(name, weights=weights)
    assert identical(merge_all(opened, parents, [one])[0][0], merge_all(opened, swapped, [one])[0][0])


def test_masks_follow_the_name_of_the_specialist(tmp_path: Path) -> None:
    """METHODS of the study, 3: in mergekit a swap of the parents changes every mask; here it changes nothing."""
    opened, parents = write_family(tmp_path, *random_family())
    one = recipe("della", weights={"codegen": 0.3, "codesum": 0.7})
    swapped = dict(reversed(parents.items()))
    assert identical(merge_all(opened, parents, [one])[0][0], merge_all(opened, swapped, [one])[0][0])


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("linear", 0.56), ("ties", 0.97), ("dare", 0.79), ("dare_ties", 0.83), ("della", 1.40), ("della_linear", 0.78)],
)
def test_realized_strength_of_orthogonal_updates(tmp_path: Path, name: str, ratio: float) -> None:
    """Two independent updates of norm 1 and 0.5 at 0.5/0.5 and density 0.5 (the study's README)."""
    parents = write_family(tmp_path, *random_family())
    _, [outcome] = merge_all(*parents, [recipe(name)])
    whole = outcome.strength[-1]
    assert whole.merged / whole.parents["codegen"] == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("name", ALL)
def test_matched_norm(tmp_path: Path, name: str) -> None:
    """Every tensor's merged delta has the weighted mean norm of its parents', whatever the method makes of it."""
    base, specialists = random_family()
    merged = merge_one(tmp_path, base, specialists, recipe(name, weight=0.3, match_norm=True))
    for tensor in base:
        norms = [float((one[tensor] - base[tensor]).norm()) for one in specialists]
        got = float((merged[tensor] - base[tensor]).norm())
        assert got == pytest.approx(0.3 * norms[0] + 0.7 * norms[1], rel=1e-4)


def test_exclude_keeps_the_base(tmp_path: Path) -> None:
    base, specialists = random_family()
    parents = write_family(tmp_path, base, specialists)
    points = [recipe(name, exclude=r"embed|\.norm\.") for name in ("linear", "ties")]
    merged, outcomes = merge_all(*parents, points)
    for one, outcome in zip(merged, outcomes, strict=True):
        assert torch.equal(one["model.embed_tokens.weight"], base["model.embed_tokens.weight"])
        assert torch.equal(one["model.norm.weight"], base["model.norm.weight"])
        assert not torch.equal(one["model.layers.1.mlp.down_proj.weight"], base["model.layers.1.mlp.down_proj.weight"])
        assert outcome.strength[0].layer == "embed_tokens"
        assert outcome.strength[0].merged == 0


def test_output_dtype(tmp_path: Path) -> None:
    base, specialists = random_family(dtype=torch.bfloat16)
    base["steps"], specialists[0]["steps"], specialists[1]["steps"] = (torch.tensor([3, 1 << 40]) for _ in range(3))
    parents = write_family(tmp_path, base, specialists)
    [stored, wide], _ = merge_all(*parents, [recipe("linear"), recipe("linear", dtype="float32")])
    assert stored["model.norm.weight"].dtype == torch.bfloat16
    assert wide["model.norm.weight"].dtype == torch.float32
    assert torch.equal(wide["model.norm.weight"].bfloat16(), stored["model.norm.weight"])
    assert torch.equal(wide["steps"], base["steps"])  # integers are copied, to the last bit
