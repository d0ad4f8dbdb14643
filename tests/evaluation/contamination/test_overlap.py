from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from src.evaluation.contamination.files import check_benchmarks, counts, document, documents
from src.evaluation.contamination.overlap import Document, clean_scores, find_contamination
from src.evaluation.statistics.scores import Score
from src.pocket.benchmarks import problems
from src.pocket.sources import PocketSource
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl

MBPP = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "mbpp"
WORDS = [f"w{number}" for number in range(40)]
SOLUTION = "def f(items):\n    total = 0\n    for item in items:\n        total += item\n    return total\n"
RENAMED = 'def g(xs: list) -> int:\n    """Sum."""\n    s = 0\n    for x in xs:\n        s += x\n    return s\n'


def text(*parts: slice) -> str:
    return " ".join(" ".join(WORDS[part]) for part in parts)


def overlap(training: str, item: str) -> float:
    return find_contamination([Document("t", (training,))], [Document("i", (item,))])[0].overlap


def test_overlap_by_hand() -> None:
    # 20 tokens; training holds tokens 3 to 13 in a row: two 10-grams that cover 11 tokens
    assert overlap("other " + text(slice(3, 14)) + " end", text(slice(20))) == pytest.approx(11 / 20)
    assert overlap(text(slice(3, 12)), text(slice(20))) == 0  # nine in a row are no 10-gram
    assert overlap(text(slice(20)), text(slice(20))) == 1


def test_case_and_punctuation_do_not_count() -> None:
    assert overlap("W0, w1! W2-w3 (w4) w5: w6; w7 w8 'w9'", text(slice(10))) == 1


def test_a_short_field_counts_as_one_gram_from_five_tokens_on() -> None:
    assert overlap(text(slice(6)), text(slice(6))) == 1
    assert overlap(text(slice(7)), text(slice(6))) == 0
    assert overlap(text(slice(4)), text(slice(4))) == 0


def test_grams_do_not_span_fields() -> None:
    item = Document("i", (text(slice(5)), text(slice(5, 10))))
    assert find_contamination([Document("t", (text(slice(10)),))], [item])[0].overlap == 0


def test_rows_add_up_and_the_closest_is_named() -> None:
    training = [Document("a", (text(slice(0, 10)),)), Document("b", (text(slice(10, 30)),))]
    [finding] = find_contamination(iter(training), [Document("i", (text(slice(40)),))])
    assert finding.overlap == pytest.approx(30 / 40)
    assert finding.overlap_with == "b"
    assert finding.verdict == "between"


def test_equal_programs_are_found_under_other_names() -> None:
    item = Document("i", (), (SOLUTION,))
    [finding] = find_contamination([Document("t", (), ("import os\n\n" + RENAMED,))], [item])
    assert (finding.same_program, finding.overlap, finding.verdict) == ("t", 0, "dirty")


def test_equal_ids_are_dirty() -> None:
    [first, second] = find_contamination([Document("Mbpp/1", ())], [Document("Mbpp/1", ()), Document("Mbpp/11", ())])
    assert (first.same_id, first.verdict) == (True, "dirty")
    assert (second.same_id, second.verdict) == (False, "clean")


@pytest.mark.parametrize(("share", "verdict"), [(0.19, "clean"), (0.2, "between"), (0.79, "between"), (0.8, "dirty")])
def test_thresholds(share: float, verdict: str) -> None:
    words = [f"w{number}" for number in range(100)]
    training = Document("t", (" ".join(words[: round(100 * share)]),))
    assert find_contamination([training], [Document("i", (" ".join(words),))])[0].verdict == verdict


def test_mean_over_clean_items() -> None:
    items = [Document(name, (text(slice(20)) if name == "b" else name,)) for name in "abc"]
    findings = find_contamination([Document("t", (text(slice(20)),))], items)
    scores = [Score("p", name, "pass@1", value) for name, value in (("a", 0.0), ("b", 1.0), ("c", 1.0))]
    everything, clean = clean_scores(scores, findings)["p", "pass@1"]
    assert (everything.n, everything.mean) == (3, pytest.approx(2 / 3))
    assert clean is not None
    assert (clean.n, clean.mean) == (2, 0.5)
    with pytest.raises(UserError, match="item d was scored but not checked"):
        clean_scores([Score("p", "d", "pass@1", 1.0)], findings)


def test_no_items_are_refused() -> None:
    with pytest.raises(UserError, match="no benchmark items"):
        find_contamination([], [])


def test_known_forms_of_rows() -> None:
    mbpp = document({"task_id": 601, "text": "Sum.", "code": SOLUTION, "test_list": ["assert f([]) == 0"]}, 0, "mbpp")
    assert (mbpp.id, mbpp.programs) == ("Mbpp/601", (SOLUTION,))
    assert mbpp.texts == ("Sum.", SOLUTION, "assert f([]) == 0")
    plus = document({"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "    pass\n"}, 0, "he")
    assert plus.programs == ("    pass\n", "def f():\n    pass\n")
    alpaca = document(
        {"instruction": "Sum.", "input": "", "output": f"Here:\n```python\n{SOLUTION}```\nDone."}, 7, "alpaca"
    )
    assert (alpaca.id, alpaca.programs) == ("alpaca/7", (SOLUTION,))
    chat = document({"conversations": [{"from": "human", "value": "Hi"}]}, 1, "chat")
    assert chat.texts == ("Hi",)


def test_files_of_every_kind_are_read(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "rows.json.gz", "wt") as file:
        json.dump(rows, file)
    for name in ("rows.jsonl", "rows.json", "rows.json.gz"):
        assert [found.id for found in documents([tmp_path / name])] == ["a", "b"]
    assert [found.id for found in documents([tmp_path / "rows.json*"])] == ["a", "b"] * 3
    for name in ("absent.json", "rows.txt"):
        with pytest.raises(UserError, match="contamination: no such file"):
            list(documents([tmp_path / name]))


def test_only_some_rows_of_a_file_can_be_checked(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "rows.jsonl", [{"id": f"r{n}", "n": n, "split": "train" if n % 2 else "test"} for n in range(9)]
    )
    files = [tmp_path / "rows.jsonl"]
    assert [row.id for row in documents(files, {"n": [3, 6], "split": "train"})] == ["r3", "r5"]
    with pytest.raises(UserError, match=r"rows\.jsonl, row 1: no field 'm'; change contamination_keep"):
        list(documents(files, {"m": 1}))
    with pytest.raises(UserError, match=r"contamination_keep=.* leaves no training rows"):
        list(documents(files, {"n": 10}))


def test_benchmarks_are_checked_together_and_items_keep_their_names() -> None:
    rows = {"one": {"one/0": {"url": "u0", "docstring": text(slice(20))}}, "two": {"T/0": {"task_id": "T/0"}}}
    found = check_benchmarks(rows, [Document("u0", ()), Document("x", (text(slice(20)),))])
    assert {name: [(f.item, f.same_id, f.overlap) for f in findings] for name, findings in found.items()} == {
        "one": [("one/0", True, 1.0)],
        "two": [("T/0", False, 0.0)],
    }
    assert counts(found["one"]) == "0 clean, 0 between, 1 dirty of 1 items"


def test_mbpp_train_is_found_in_mbpp_plus() -> None:
    """108 of the 378 tasks are MBPP's training rows 601-974; one more is such a row under another number."""
    if not MBPP.is_dir():
        pytest.skip(f"MBPP is not at {MBPP}")
    training = documents([MBPP / "mbpp.jsonl.gz"], {"task_id": [601, 974]})
    findings = find_contamination(training, list(documents([MBPP / "MbppPlus-v0.2.0.jsonl.gz"])))
    assert sum(finding.same_id for finding in findings) == 108
    twins = [
        (finding.item, finding.same_program) for finding in findings if finding.same_program and not finding.same_id
    ]
    assert twins == [("Mbpp/67", "Mbpp/608")]
    assert sum(finding.verdict == "clean" for finding in findings) == 231


def test_the_pocket_benchmark_is_not_in_its_training_rows() -> None:
    training = [
        Document(row.id, (row.answer,), (f"{row.prompt}{row.answer}",))
        for row in PocketSource("codegen").examples("train")
    ]
    items = [
        Document(row["task_id"], (row["prompt"],), (row["prompt"] + row["canonical_solution"],))
        for row in problems("test", 15)
    ]
    assert {finding.same_program for finding in find_contamination(training, items)} == {""}
