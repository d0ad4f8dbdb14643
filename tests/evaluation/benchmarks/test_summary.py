from __future__ import annotations

from typing import Any

import pytest

from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.samples import Decoding, Sample
from src.evaluation.statistics.scores import by_metric
from src.evaluation.text.bertscore import BertScore
from src.utils.errors import UserError

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


def test_an_encoder_scores_normalized_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def score(self: BertScore, predictions: list[str], references: list[str]) -> list[float]:
        seen.append((predictions, references))
        return [0.25, 0.75]

    monkeypatch.setattr(BertScore, "__call__", score)
    monkeypatch.setattr(BertScore, "identity", lambda self: {"layer": self.layer})
    monkeypatch.setattr(BertScore, "definition", "an encoder")
    samples = [Sample("s/1", "", "`x`."), Sample("s/0", "", " Add  one. ")]
    made = benchmark(bertscore=BertScore(model="somewhere", layer=2))
    assert by_metric(made.score(samples, "test"))["s", "bertscore"] == {"s/0": 0.25, "s/1": 0.75}
    assert seen == [(["Add one", "`x`"], ["Add one to x", "Return x unchanged"])]
    assert made.rules()["bertscore"] == {"layer": 2}
    assert made.definitions["bertscore"].startswith("an encoder")
    off = benchmark(bertscore=BertScore())
    assert "bertscore" not in {*off.rules(), *off.definitions}


def with_repositories(*names: str | None, **options: Any) -> SummaryBenchmark:
    rows = [ROWS[0] | ({} if name is None else {"repo": name}) for name in names]
    return SummaryBenchmark("s", lambda split: rows, Decoding(), **{"metrics": METRICS, "wordnet": None, **options})


def test_clusters() -> None:
    """By default the repository, where all rows have one and there is more than one."""
    assert with_repositories("a/b", "c/d", "a/b").clusters("test") == {"s/0": "a/b", "s/1": "c/d", "s/2": "a/b"}
    for rows in (("a/b", None), ("a/b", "a/b"), (None, None)):
        assert with_repositories(*rows).clusters("test") == {}
    assert with_repositories("a/b", "c/d", cluster=None).clusters("test") == {}
    assert set(with_repositories("a", "b", cluster="code").rows("test")[0]) > {"repo", "code"}
    with pytest.raises(UserError, match=r"benchmark\.cluster=owner: 2 of 2 rows have no such field.*docstring, "):
        with_repositories("a", "b", cluster="owner").clusters("test")
    with pytest.raises(UserError, match=r"benchmark\.cluster=repo: all 2 rows are one cluster"):
        with_repositories("a", "a", cluster="repo").clusters("test")


def test_corpus_intervals_draw_clusters() -> None:
    """Ten right and ten wrong rows of two repositories: a draw has all of a repository, or none."""
    rows = [ROWS[0] | {"repo": f"r{number % 2}"} for number in range(20)]
    samples = [Sample(f"s/{n}", "", "Add one to x" if n % 2 else "Nothing of that sort") for n in range(20)]
    made = {
        cluster: SummaryBenchmark(
            "s", lambda split: rows, Decoding(), metrics=METRICS, corpus=["bleu4_corpus"], cluster=cluster
        )
        for cluster in ("repo", None)
    }
    scores = {cluster: one.corpus_scores(samples, "test")["bleu4_corpus"] for cluster, one in made.items()}
    assert scores["repo"].mean == scores[None].mean
    assert (scores["repo"].low, scores["repo"].high) == (0, pytest.approx(1))
    assert 0 < scores[None].low < scores[None].high < 1


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


def test_a_benchmark_without_rows_says_so() -> None:
    with pytest.raises(UserError, match=r"has no rows; set benchmark\.rows=FILE"):
        SummaryBenchmark("s", None, Decoding(), metrics=METRICS).prompts("test")
