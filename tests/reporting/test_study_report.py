import pandas as pd
import pytest

from src.reporting.study_report import StudyModel, models_in_order, variant_models
from tests.reporting.example import SPECIALISTS, models, study


def test_the_example_is_complete():
    assert study().specialists == SPECIALISTS


def test_every_problem_is_named_at_once():
    known = {name: model for name, model in models().items() if name != SPECIALISTS["codegen"]}
    known["x"] = StudyModel("x", "mixture")
    with pytest.raises(ValueError, match="cost lacks column 'strategy'") as caught:
        study(cost=pd.DataFrame(), headline={"codegen": "pass@1"}, models=known)
    for problem in (
        "no specialist for task 'codegen'",
        "no headline metric for task 'codesum'",
        "unknown kind 'mixture'",
        "unknown model 'pocket-specialist-codegen' in test",
    ):
        assert problem in str(caught.value)
    with pytest.raises(ValueError, match="no scores on test data"):
        study(scores={"validation": study().scores["validation"]})


def test_order_and_labels_whatever_the_order_of_the_merges():
    ordered = models()
    specialists, merges = list(ordered.values())[:4], list(ordered.values())[4:]
    labels = [model.label for model in models_in_order([*merges[::-1], *specialists]).values()]
    assert labels[:4] == ["Base", "Specialist: codegen", "Specialist: codesum", "Data mixture"]
    assert labels[4:7] == ["DELLA 0.1", "DELLA 0.2", "DELLA 0.3"]
    assert len(labels) == 40


def test_a_merge_without_a_coefficient_has_its_methods_name():
    assert StudyModel("m", "merge", method="model_stock").label == "Model Stock"


def test_words_in_a_sentence():
    words = [models()[name].in_a_sentence for name in ("pocket-base", SPECIALISTS["codegen"], "pocket-mix")]
    assert words == ["the base", "the codegen specialist", "the data mixture"]
    assert models()["pocket-ties-w0.3-s0"].in_a_sentence == "TIES 0.3"


def test_variants_without_scores():
    found = variant_models(["a", "mix", "a"], {"codegen": "a"})
    assert [(m.name, m.label, m.kind) for m in found.values()] == [
        ("a", "Specialist: codegen", "specialist"),
        ("mix", "mix", "merge"),
    ]
