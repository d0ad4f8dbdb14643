from __future__ import annotations

import pytest

from src.data.prompts import render_user_turn
from src.utils.errors import UserError


def test_values_are_inserted_verbatim() -> None:
    assert render_user_turn("Do:\n{prompt}\n{{x}}", prompt="d = {'a': {0}}") == "Do:\nd = {'a': {0}}\n{x}"


def test_extra_fields_are_allowed() -> None:
    assert render_user_turn("{code}", code="x", language="python") == "x"


@pytest.mark.parametrize("template", ["{promt}", "{}", "{prompt!r}", "{prompt:>4}"])
def test_unknown_place_names_the_fields_there_are(template: str) -> None:
    with pytest.raises(UserError, match=r"this task has \{prompt\}"):
        render_user_turn(template, prompt="x")


def test_broken_template() -> None:
    with pytest.raises(UserError, match="literal brace"):
        render_user_turn("a { b", prompt="x")
