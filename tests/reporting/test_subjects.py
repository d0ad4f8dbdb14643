import pandas as pd

from src.reporting.subjects import method_label, metric_label, subjects_of, variant_subjects
from tests.reporting.example import SPECIALISTS, study


def _scores(*rows):
    return pd.DataFrame(rows, columns=["subject", "kind", "method", "weight"])


def test_order_and_labels_whatever_the_order_of_the_rows():
    report = study()
    subjects = subjects_of(report.scores.iloc[::-1], report.specialists)
    labels = [subject.label for subject in subjects.values()]
    assert labels[:4] == ["Base", "Specialist: codegen", "Specialist: codesum", "Data mixture"]
    assert labels[4:7] == ["DELLA 0.1", "DELLA 0.2", "DELLA 0.3"]
    assert len(labels) == 40


def test_several_mixtures_keep_their_names():
    subjects = subjects_of(_scores(("mix-0.3", "mix", None, None), ("mix-0.5", "mix", None, None)), {})
    assert [subject.label for subject in subjects.values()] == ["mix-0.3", "mix-0.5"]


def test_a_merge_without_a_weight_has_its_methods_name():
    subjects = subjects_of(_scores(("m", "merge", "model_stock", float("nan")), ("n", "merge", "ties", ".3/.7")), {})
    assert [subject.label for subject in subjects.values()] == ["model stock", "TIES .3/.7"]


def test_a_specialist_of_no_task_keeps_its_name():
    assert subjects_of(_scores(("older", "specialist", None, None)), {})["older"].label == "older"


def test_words_in_a_sentence():
    subjects = subjects_of(study().scores, SPECIALISTS)
    words = [subjects[name].in_a_sentence for name in ("pocket-base", SPECIALISTS["codegen"], "pocket-mix")]
    assert words == ["the base", "the codegen specialist", "the data mixture"]
    assert subjects["pocket-ties-w0.3-s0"].in_a_sentence == "TIES 0.3"


def test_variants_without_scores():
    subjects = variant_subjects(["a", "mix", "a"], {"codegen": "a"})
    assert [(s.name, s.label, s.kind) for s in subjects.values()] == [
        ("a", "Specialist: codegen", "specialist"),
        ("mix", "mix", "merge"),
    ]


def test_unknown_names_pass_through():
    assert method_label("my_method") == "my method"
    assert metric_label("exact") == "exact"
