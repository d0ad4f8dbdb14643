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


def test_stop_strings_are_seen_across_tokens_and_characters_of_many_bytes() -> None:
    tokenizer = tiny_tokenizer()
    stops = StopStrings(["é!"], tokenizer)
    ids = tokenizer("caf é!", add_special_tokens=False)["input_ids"]
    assert stops.holds(ids)
    assert not stops.holds(ids[:-1])
    assert stops.completing[ids[-1]]
    half = StopStrings(["é"], tokenizer)
    assert half.completing[tokenizer("é", add_special_tokens=False)["input_ids"]].all()


def test_end_counts_the_tokens_up_to_the_completing_one() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("ab\n```\ncd", add_special_tokens=False)["input_ids"]
    stops = StopStrings(["\n```\n", "c"], tokenizer)
    assert stops.end(ids) == stops.end(ids, start=4) == 7
    assert stops.end(ids[:6]) is None
    assert StopStrings([], tokenizer).end(ids) is None
