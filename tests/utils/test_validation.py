"""Checked dataclasses: strict types, ranges, and errors that name the config key."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from src.utils.errors import UserError
from src.utils.validation import checked_dataclass


@checked_dataclass("merge")
class Settings:
    density: Annotated[float, Field(gt=0, le=1)]
    lambda_: float = 1.0
    seed: int = 0
    normalize: bool = True
    rescale: Literal["none", "density"] = "none"
    weights: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.seed == 13:
            raise UserError("merge.seed=13 brings bad luck")


def test_good_values_by_position_and_by_name() -> None:
    assert Settings(0.5, lambda_=2) == Settings(density=0.5, lambda_=2.0)
    assert hash(Settings(0.5)) == hash(Settings(0.5))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"density": 0}, "merge.density must be above 0, got 0"),
        ({"density": True}, "merge.density must be a number, got True"),
        ({"density": "0.5"}, "merge.density must be a number, got '0.5'"),
        ({"lambda_": float("inf")}, "merge.lambda must be a finite number, got inf"),
        ({"seed": 0.5}, "merge.seed must be an integer, got 0.5"),
        ({"seed": 13}, "merge.seed=13 brings bad luck"),
        ({"normalize": 1}, "merge.normalize must be true or false, got 1"),
        ({"rescale": "densty"}, "unknown merge.rescale 'densty', did you mean 'density'"),
        ({"weights": {"codegen": None}}, "merge.weights.codegen must be a number, got None"),
        ({"weights": 1}, "merge.weights must be a mapping"),
        ({"densty": 1}, "unknown key merge.densty"),
        ({"density": 2, "seed": "x"}, "2 wrong values: merge.density .*; merge.seed must be an integer, got 'x'"),
    ],
)
def test_bad_values(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**{"density": 0.5} | keys)


def test_a_missing_value() -> None:
    with pytest.raises(UserError, match=r"merge.density is missing"):
        Settings()  # type: ignore[call-arg]


def test_too_many_values() -> None:
    with pytest.raises(TypeError, match="Settings got too many values"):
        Settings(0.5, density=0.5)  # type: ignore[misc]


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings(0.5).seed = 1  # type: ignore[misc]
