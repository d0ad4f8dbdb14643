from pathlib import Path

from src.runs.paths import merge_name, run_path, training_name, words_for_parents


def test_a_run_is_named_by_what_it_is():
    assert training_name("pocket", "mix", None, 0) == "pocket-mix-s0"
    assert training_name("qwen7b", "specialist", "codegen", 3, ["steps50"]) == "qwen7b-specialist-codegen-steps50-s3"
    assert run_path("runs", "train", "pocket-mix-s0") == Path("runs/train/pocket-mix-s0")


def test_a_merge_shows_its_coefficients():
    assert merge_name("pocket", "ties", [0.3], 0) == "pocket-ties-w0.3-s0"
    assert merge_name("base", "dare", [0.25, 0.5, 0.25], 1, ["density0.2"]) == "base-dare-density0.2-w0.25-0.5-0.25-s1"


def test_a_lazy_merge_says_so():
    assert merge_name("pocket", "ties", [0.3], 0, lazy=True) == "pocket-ties-w0.3-s0-recipe"


def test_other_specialists_than_the_standard_ones_show():
    standard = {"codegen": "pocket-specialist-codegen-s0"}
    assert words_for_parents({"codegen": Path("/elsewhere/pocket-specialist-codegen-s0")}, standard) == []
    [one] = words_for_parents({"codegen": Path("/a/mine")}, standard)
    [other] = words_for_parents({"codegen": Path("/a/yours")}, standard)
    assert one != other
    assert len(one) == len("3f1c20")


def test_a_study_keeps_its_names_where_it_is_moved():
    def word(root, place):
        return words_for_parents({"codegen": Path(place)}, {"codegen": "standard"}, root)

    assert word("/a/runs", "/a/runs/train/mine") == word("/b", "/b/train/mine") == word("runs", "runs/train/mine")
    assert word("/a/runs", "/a/runs/one/checkpoint-500") != word("/a/runs", "/a/runs/two/checkpoint-500")
