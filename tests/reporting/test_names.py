from src.evaluation.text.corpus import CORPUS_SCORES
from src.evaluation.text.metrics import SENTENCE_METRICS
from src.reporting.names import BENCHMARKS, METHODS, METRICS, benchmark_label, listed, method_label, metric_label
from src.reporting.style import COLORS
from src.stages.job import CONF


def test_the_table_of_methods_holds_the_choices_of_conf_merge():
    assert set(METHODS) == {path.stem for path in (CONF / "merge").glob("[!_]*.yaml")}
    assert {style.color for style in METHODS.values()} <= set(COLORS)
    assert len({style.label for style in METHODS.values()}) == len(METHODS)


def test_every_metric_and_benchmark_that_we_have_is_known():
    assert set(METRICS) >= {*SENTENCE_METRICS, *CORPUS_SCORES, "meteor", "meteor_nosyn", "pass@1", "pass@1+"}
    assert set(BENCHMARKS) >= {path.stem for path in (CONF / "benchmark").glob("[!_]*.yaml")}


def test_unknown_names_pass_through():
    assert method_label("my_method") == "my method"
    assert metric_label("exact") == "exact"
    assert benchmark_label("my_problems") == "my problems"


def test_lists_in_a_sentence():
    assert [listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
