from __future__ import annotations

import pytest

from src.evaluation.text.normalize import normalize


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  Returns the sum.  ", "Returns the sum"),
        ("Ends in dots...", "Ends in dots"),
        ('"""Adds\n    two   numbers."""', "Adds two numbers"),
        ("```\nAdds\n```", "Adds"),
        ("<think>first a,\nthen b</think>Adds.", "Adds"),
        ("/**\n * Gets x.\n * @param y the y\n */", "Gets x. :param y the y"),
        ("* one\n  * two", "one two"),
        ("a * b", "a * b"),
        ("x &lt; y &amp; z", "x < y & z"),
        ("<p>Text <code>f</code>", "Text f</code>"),
        ("<\\code>f<\\p>", "f"),
        ("", ""),
        ("...", ""),
    ],
)
def test_each_rule_of_the_study(text: str, clean: str) -> None:
    assert normalize(text) == clean


def test_normalizing_twice_changes_nothing_for_plain_prose() -> None:
    once = normalize("Return the `sum` of\n\ta and b, if any.")
    assert normalize(once) == once == "Return the `sum` of a and b, if any"
