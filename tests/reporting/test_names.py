from src.evaluation.text.corpus import CORPUS_SCORES
from src.evaluation.text.metrics import SENTENCE_METRICS
from src.reporting.colors import COLORS
from src.reporting.names import BENCHMARKS, METHODS, METRICS, benchmark_label, listed, method_label, metric_label
from src.stages.job import CONF, compose_job


def test_the_table_names_nothing_that_is_not_there():
    """A method, metric or benchmark of one's own needs no entry; a stale one would go unnoticed."""
    assert set(METHODS) <= {path.stem for path in (CONF / "merge").glob("*.yaml")}
    assert set(METRICS) <= {*SENTENCE_METRICS, *CORPUS_SCORES, "meteor", "meteor_nosyn", "pass@1", "pass@1+"}
    assert set(BENCHMARKS) <= {path.stem for path in (CONF / "benchmark").glob("*.yaml")}


def test_every_study_finds_its_methods_and_metrics_in_the_table():
    for preset in ("pocket", "paper_text", "paper_authors", "fair"):
        study = compose_job("study", [f"study={preset}"]).cfg.study
        assert set(METHODS) >= {*study.methods, *study.methods_without_grid}
        assert set(METRICS) >= {*study.metrics}


def test_methods_are_told_apart_by_label_marker_and_line():
    assert {style.color for style in METHODS.values()} <= set(COLORS)
    assert len({style.label for style in METHODS.values()}) == len(METHODS)
    assert len({(style.marker, style.line) for style in METHODS.values()}) == len(METHODS)


def test_unknown_names_pass_through():
    assert method_label("my_method") == "my method"
    assert metric_label("exact") == "exact"
    assert benchmark_label("my_problems") == "my problems"


def test_lists_in_a_sentence():
    assert [listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
