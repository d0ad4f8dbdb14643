from src.evaluation.preflight.differing import by_value, differing, shown, unequal


def test_equal_and_unknown_values_are_no_finding():
    assert list(differing("k", "note", {"a": 1, "b": 1.0, "c": None}, "", "")) == []
    assert list(differing("k", "note", {"a": 1e-05, "b": 0.00001}, "", "")) == []
    assert list(differing("k", "note", {"a": 1, "b": None}, "", "")) == []


def test_of_mappings_only_what_differs_is_shown():
    values = {"a": {"kind": "adamw", "warmup": 0.1}, "b": {"kind": "adamw"}, "c": None}
    [finding] = differing("optimizer", "caution", values, "", "")
    assert finding.found == 'a: {"warmup": 0.1}; b: {"warmup": null}'


def test_owners_are_together_and_counted_if_many():
    assert by_value({"a": "1", "b": "2", "c": "1"}) == "a and c: 1; b: 2"
    assert by_value(dict.fromkeys("abcdef", "1") | {"z": "2"}) == "a, b, c and 3 more: 1; z: 2"


def test_long_texts_and_lines():
    assert shown("a\nb") == "a\\nb"
    assert shown("x" * 200) == "x" * 120 + "... (200 characters)"
    assert (shown(True), shown(5e-6), shown([1, 2])) == ("true", "5e-06", "[1, 2]")


def test_amounts_may_differ_by_a_ratio():
    assert list(unequal("k", "note", {"a": 110, "b": 100, "c": None}, "", "", ratio=1.1)) == []
    [finding] = unequal("k", "note", {"a": 1200, "b": 1000}, "", "", ratio=1.1)
    assert finding.found == "a: 1,200; b: 1,000"
