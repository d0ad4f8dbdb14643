import pandas as pd
import pytest

from tests.reporting.example import study


def test_the_example_is_complete():
    assert study().tasks == ("codegen", "codesum")


def test_every_problem_is_named_at_once():
    scores = study().scores.drop(columns="low").replace({"kind": {"mix": "mixture"}})
    with pytest.raises(ValueError, match="scores lacks column 'low'") as caught:
        study(scores=scores, cost=pd.DataFrame(), headline={"codegen": "pass@1"}, specialists={"codesum": "x"})
    for problem in (
        "cost lacks column 'strategy'",
        "no specialist for task 'codegen'",
        "no headline metric for task 'codesum'",
        "unknown kind 'mixture'",
    ):
        assert problem in str(caught.value)


def test_a_table_without_kinds_is_reported_once():
    with pytest.raises(ValueError, match="scores lacks column 'kind'"):
        study(scores=study().scores.drop(columns="kind"))
