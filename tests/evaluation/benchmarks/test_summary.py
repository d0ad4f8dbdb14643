from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.benchmarks.summary import SummaryBenchmark, read_texts
from src.evaluation.generators.samples import Decoding, Sample
from src.evaluation.statistics.scores import by_metric
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl

ROWS = [
    {
        "code": 'def f(x):\n    """Add one."""\n    return x + 1\n',
        "docstring": "Add one to x.",
        "docstring_tokens": ["Add", "one"],
    },
    {"code": "def g(x):\n    return x", "docstring": "Return x unchanged.", "docstring_tokens": ["Return", "x"]},
]
METRICS = ("bleu4_paper", "rouge_l")


def benchmark(**options: Any) -> SummaryBenchmark:
    defaults: dict[str, Any] = {"metrics": METRICS, "wordnet": None}
    return SummaryBenchmark("s", lambda split: ROWS, Decoding(), **{**defaults, **options})


def test_prompts_hold_the_code_without_its_docstring() -> None:
    prompts = benchmark(user_prompt="Describe:\n{code}!").prompts("test")
    assert [(prompt.id, prompt.text) for prompt in prompts] == [
        ("s/0", "Describe:\ndef f(x):\n    return x + 1!"),
        ("s/1", "Describe:\ndef g(x):\n    return x!"),
    ]


def test_study_form_of_the_prompt() -> None:
    prompt = "Write.\n```{code}```"
    assert benchmark(user_prompt=prompt).prompts("test")[1].text == "Write.\n```def g(x):\n    return x```"


def test_references_by_field() -> None:
    assert benchmark().references("test") == {"s/0": "Add one to x.", "s/1": "Return x unchanged."}
    assert benchmark(reference="docstring_tokens").references("test")["s/0"] == "Add one"


def test_scores_come_by_item_and_the_first_sample_counts() -> None:
    samples = [
        Sample("s/1", "", "Nothing here."),
        Sample("s/0", "", "Add one to x"),
        Sample("s/0", "", "worse", index=1),
    ]
    table = by_metric(benchmark().score(samples, "test"))
    assert list(table) == [("s", metric) for metric in METRICS]
    assert table["s", "bleu4_paper"] == {"s/0": 1.0, "s/1": 0.0}
    assert benchmark().corpus_scores(samples, "test") == {}
    corpus = benchmark(corpus=("chrf++_corpus",)).corpus_scores(samples, "test")
    assert {name: score.n for name, score in corpus.items()} == {"chrf++_corpus": 2}
    with pytest.raises(UserError, match=r"unknown corpus score 'bleu'.*bleu4_corpus"):
        benchmark(corpus=("bleu",))


def test_definitions_name_every_metric() -> None:
    definitions = benchmark(metrics=("bleu4_codexglue", "meteor")).definitions
    assert set(definitions) == {"bleu4_codexglue", "meteor_nosyn"}
    assert definitions["bleu4_codexglue"].endswith("(0 to 1; papers print 100 times as much)")


def test_content_hash_follows_prompts_and_references() -> None:
    hashes = {
        benchmark().content_hash("test"),
        benchmark(user_prompt="{code}?").content_hash("test"),
        benchmark(reference="docstring_tokens").content_hash("test"),
        benchmark(limit=1).content_hash("test"),
    }
    assert len(hashes) == 4


def test_files_of_lines_are_scored(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("0\tadd one to x\n1\treturn it all\n")
    (tmp_path / "output").write_text("1\treturn it all\n0\tadd one to x")  # another order, no final newline
    table = by_metric(benchmark().score_files(tmp_path / "output", tmp_path / "gold"))
    assert table["s", "rouge_l"] == {"0": 1.0, "1": 1.0}


def test_files_of_json_lines_are_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": 7, "prediction": "x"}, {"id": 8, "prediction": ""}])
    assert read_texts(tmp_path / "a.jsonl") == {"7": "x", "8": ""}
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write('{"docstring": "d"}\n{"docstring": "e"}\n')
    assert read_texts(tmp_path / "b.jsonl.gz") == {"0": "d", "1": "e"}


def test_an_empty_text_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("0\t\n\n1\ta\tb\n")
    assert read_texts(tmp_path / "t") == {"0": "", "1": "a\tb"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 no tab\n", r"line 1: expected id<TAB>text, got '0 no tab'"),
        ("0\ta\n0\tb\n", "unique ids, but 0 occurs twice"),
        ("", "is empty"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(UserError, match=message):
        read_texts(tmp_path / "t")


def test_absent_and_textless_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_texts(tmp_path / "absent")
    write_jsonl(tmp_path / "a.jsonl", [{"id": 1, "words": "x"}])
    with pytest.raises(UserError, match=r"row 1: expected one of prediction.*got \['id', 'words'\]"):
        read_texts(tmp_path / "a.jsonl")


def test_ids_must_match(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("0\ta\n1\tb\n")
    (tmp_path / "output").write_text("0\ta\n")
    with pytest.raises(UserError, match="1 of 2 items have no sample; the first is 1"):
        benchmark().score_files(tmp_path / "output", tmp_path / "gold")


def test_a_benchmark_without_rows_says_so() -> None:
    with pytest.raises(UserError, match=r"has no rows; set benchmark\.rows=FILE"):
        SummaryBenchmark("s", None, Decoding(), metrics=METRICS).prompts("test")
