import pytest
import torch

from src.checkpoints import TensorInfo
from src.checkpoints.compat import model_differences, tensor_differences

BASE = {"a": TensorInfo((2, 3), torch.float32), "b": TensorInfo((4,), torch.float32)}


def test_equal_tables_have_no_differences():
    assert tensor_differences(BASE, dict(reversed(BASE.items())), "the base") == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"a": None}, "a is missing"),
        ({"c": TensorInfo((1,), torch.float32)}, "c is not in the base"),
        ({"a": TensorInfo((3, 2), torch.float32)}, "a has shape [3, 2], expected [2, 3]"),
        ({"b": TensorInfo((4,), torch.bfloat16)}, "b has dtype bfloat16, expected float32"),
    ],
)
def test_each_difference_is_named(change, difference):
    found = {name: info for name, info in {**BASE, **change}.items() if info is not None}
    assert tensor_differences(BASE, found, "the base") == [difference]


def test_dtypes_count_only_where_they_matter():
    found = {name: TensorInfo(info.shape, torch.bfloat16) for name, info in BASE.items()}
    assert tensor_differences(BASE, found, "the base", dtypes=False) == []
    assert tensor_differences(BASE, found, "the base", any_dtype={"a"}) == ["b has dtype bfloat16, expected float32"]


def test_differences_come_in_the_order_of_the_names():
    assert tensor_differences(BASE, {"c": BASE["a"]}, "the base") == [
        *("a is missing", "b is missing", "c is not in the base")
    ]


@pytest.mark.parametrize("names", [("head",), ("embedding",), ("head", "embedding")])
def test_a_tied_tensor_comes_under_any_of_its_names(names):
    shared = torch.zeros(3, 2)
    state = {"head": shared, "embedding": shared, "norm": torch.ones(2)}
    found = {name: TensorInfo((3, 2), torch.float64) for name in names}
    assert model_differences(state, found) == ["norm is missing"]
    assert model_differences(state, {**found, "norm": TensorInfo((2,), torch.float64)}) == []
    assert model_differences(state, {**found, "norm": TensorInfo((3,), torch.float64), "more": BASE["b"]}) == [
        *("more is not in the model", "norm has shape [3], expected [2]")
    ]
