from __future__ import annotations

from src.evaluation.generators.stopping import StopStrings
from tests.evaluation.generators.tiny import tiny_tokenizer


def test_cut_before_the_first_stop_string() -> None:
    stops = StopStrings(["\n```\n", "\nprint("], tiny_tokenizer())
    assert stops.cut("a = 1\nprint(a)\n```\nend") == ("a = 1", True)
    assert stops.cut("a = 1\n``") == ("a = 1\n``", False)
    assert StopStrings([], tiny_tokenizer()).cut("a") == ("a", False)
    assert StopStrings(["", "b"], tiny_tokenizer()).cut("abc") == ("a", True)


def test_only_tokens_with_a_last_character_complete_a_stop_string() -> None:
    tokenizer = tiny_tokenizer()
    completing = StopStrings(["\n```\n", "x("], tokenizer).completing
    ids = tokenizer("\n(", add_special_tokens=False)["input_ids"]
    assert completing[ids].all()
    assert not completing[tokenizer("a`x", add_special_tokens=False)["input_ids"]].any()


def test_found_looks_across_tokens_and_characters_of_many_bytes() -> None:
    tokenizer = tiny_tokenizer()
    stops = StopStrings(["é!"], tokenizer)
    ids = tokenizer("caf é!", add_special_tokens=False)["input_ids"]
    assert stops.found(ids)
    assert not stops.found(ids[:-1])
    assert stops.completing[ids[-1]]
    half = StopStrings(["é"], tokenizer)
    assert half.completing[tokenizer("é", add_special_tokens=False)["input_ids"]].all()
