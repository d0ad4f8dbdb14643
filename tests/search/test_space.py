import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from src.search.space import Point, search_space, searched_methods
from src.utils.errors import UserError

TIES = {"weight": 0.5, "weights": None, "density": 0.5, "normalize": True, "lambda": 1.0, "tokenizer": "equal"}
LINEAR = {"weight": 0.5, "weights": None, "normalize": True, "tokenizer": "equal"}
CONSENSUS = {"weight": 0.5, "weights": None, "agree": 2, "threshold": 0.4}
WUDI = {"iterations": None, "step_size": 1e-5}
TASKS = ["codegen", "codesum"]


def space(wanted, tasks=TASKS, **nodes):
    return search_space(wanted, nodes or {"ties": TIES}, tasks)


def test_the_standard_space_is_coefficient_and_density():
    found = space(None)
    assert found.ranges == {"merge.weight": FloatDistribution(0, 1), "merge.density": FloatDistribution(0.05, 1)}
    assert found.methods == ("ties",)


def test_the_standard_space_of_three_specialists_has_a_coefficient_of_each():
    assert list(space(None, [*TASKS, "bugfix"]).ranges) == [
        "merge.weights.codegen", "merge.weights.codesum", "merge.weights.bugfix", "merge.density"
    ]  # fmt: skip


def test_coefficients_that_the_user_has_set_by_name_stay():
    assert list(space(None, ties=TIES | {"weights": {"codegen": 0.3, "codesum": 0.7}}).ranges) == ["merge.density"]


def test_ranges_are_of_numbers_integers_and_choices():
    wanted = {
        "merge.density": {"log": [0.01, 1]}, "merge.agree": [1, 2], "merge.iterations": {"int": [100, 400]},
        "merge.normalize": [True, False], "merge.lambda": {"choices": [0.5, 1]}, "merge.weight": [0, 1],
    }  # fmt: skip
    assert space(wanted, ties=TIES, consensus=CONSENSUS, wudi=WUDI).ranges == {
        "merge.density": FloatDistribution(0.01, 1, log=True), "merge.agree": IntDistribution(1, 2),
        "merge.iterations": IntDistribution(100, 400), "merge.normalize": CategoricalDistribution([True, False]),
        "merge.lambda": CategoricalDistribution([0.5, 1]), "merge.weight": FloatDistribution(0, 1),
    }  # fmt: skip


def test_a_point_has_the_keys_of_its_own_method_alone():
    found = space(None, ties=TIES, linear=LINEAR)
    answers = {"merge.weight": 0.25, "merge.density": 0.5}
    assert found.ask(FixedTrial({"merge": "linear", **answers})) == Point("linear", {"merge.weight": 0.25})
    assert found.ask(FixedTrial({"merge": "ties", **answers})) == Point("ties", answers)


def test_a_point_has_the_digits_of_its_command_line_and_stays_in_its_range():
    found = space({"merge.weight": [0, 0.99999]})
    assert found.ask(FixedTrial({"merge.weight": 0.123456})).values == {"merge.weight": 0.1235}
    assert found.ask(FixedTrial({"merge.weight": 0.99999})).values == {"merge.weight": 0.99999}


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ({"merge.density": 0.2}, {"density": 0.2}),
        ({"merge.weights.codegen": 0.3, "merge.weights.codesum": 0.9}, {"weights": {"codegen": 0.3, "codesum": 0.9}}),
        (
            {"merge.weights.codegen.0": 0.1, "merge.weights.codegen.1": 0.2, "merge.weights.codesum": 1.0},
            {"weights": {"codegen": [0.1, 0.2], "codesum": 1.0}},
        ),
        ({"merge.density.0": 0.1, "merge.density.1": 0.2}, {"density": [0.1, 0.2]}),
    ],
)
def test_the_settings_of_a_point(values, settings):
    assert Point("ties", values).settings(TIES) == settings


def test_a_point_keeps_the_entries_that_it_does_not_set():
    node = TIES | {"weights": {"codegen": [0.1, 0.2, 0.3], "codesum": 0.7}}
    found = Point("ties", {"merge.weights.codegen.1": 0.9}).settings(node)
    assert found == {"weights": {"codegen": [0.1, 0.9, 0.3], "codesum": 0.7}}
    assert node["weights"]["codegen"] == [0.1, 0.2, 0.3]


def test_a_list_with_a_gap_is_refused():
    with pytest.raises(UserError, match=r"merge\.density\.1: entry 0"):
        Point("ties", {"merge.density.1": 0.2}).settings(TIES)


def test_the_search_starts_at_the_configured_point_if_it_is_in_the_space():
    assert space(None).start("ties", TIES) == Point("ties", {"merge.weight": 0.5, "merge.density": 0.5})
    assert space({"merge.weight": [0.6, 1]}).start("ties", TIES) is None
    assert space({"merge.weights.codegen": [0, 1]}).start("ties", TIES) is None


def test_every_end_of_a_range_is_tried_with_the_others_in_the_middle():
    found = space({"merge.weight": [0, 1], "merge.normalize": [True, False]})
    values = [
        (key, point.values["merge.weight"], point.values["merge.normalize"]) for key, point in found.edges("ties")
    ]
    assert values == [
        ("merge.weight", 0, True), ("merge.weight", 1, True), ("merge.normalize", 0.5, True),
        ("merge.normalize", 0.5, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"merge.densty": [0, 1]}, r"search\.space 'merge\.densty', did you mean 'merge\.density'"),
        ({"seed": [0, 1]}, r"search\.space\.seed: expected merge"),
        ({"merge.tokenizer": ["base", "union"]}, r"search\.space\.merge\.tokenizer"),
        ({"merge.density": [1, 0]}, r"search\.space\.merge\.density: expected a range .*\[1, 0\]"),
        ({"merge.density": 0.5}, r"search\.space\.merge\.density: expected \[low, high\].*0\.5"),
        ({"merge.density": {"log": [0, 1]}}, r"search\.space\.merge\.density: .*log"),
        ({"merge.density": {"int": [0.5, 1]}}, r"search\.space\.merge\.density: expected integers"),
        ({"merge.density": {"uniform": [0.5, 1]}}, r"search\.space\.merge\.density: .*uniform"),
        ({"merge.density": {"choices": [0.5]}}, r"search\.space\.merge\.density: .*choices"),
        ({"merge.weight": [0, 1], "merge.weights.codegen": [0, 1]}, r"search\.space\.merge\.weight has no effect"),
    ],
)
def test_a_bad_space_is_one_line_with_the_key(wanted, match):
    with pytest.raises(UserError, match=match):
        space(wanted)


def test_a_coefficient_beside_coefficients_by_name_is_refused():
    with pytest.raises(UserError, match=r"search\.space\.merge\.weight has no effect on merge=ties"):
        space({"merge.weight": [0, 1]}, ties=TIES | {"weights": {"codegen": 0.3, "codesum": 0.7}})


def test_a_method_without_coefficients_and_density_needs_a_space():
    with pytest.raises(UserError, match=r"search\.space: merge=wudi"):
        space(None, wudi=WUDI)


def test_methods_are_those_of_the_space_or_the_configured_one():
    assert searched_methods(None, "ties") == ["ties"]
    assert searched_methods({"merge": ["ties", "dare"]}, "linear") == ["ties", "dare"]
    with pytest.raises(UserError, match=r"search\.space\.merge"):
        searched_methods({"merge": ["ties", "ties"]}, "ties")
