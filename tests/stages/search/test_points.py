import pytest

from src.search.space import Point, search_space
from src.stages.job import compose_job
from src.stages.search.points import MergePoints, configured_method, literal
from src.utils.errors import UserError

SPECIALISTS = {"codegen": {}, "codesum": {}}
JOB = compose_job("merge", ["merge=ties", "merge.density=0.2", "merge.weight=0.5", "seed=1", "search=tpe", "output=x"])


def points(job, methods):
    return MergePoints(job, methods, SPECIALISTS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.25"), (2, "2"), (True, "true"), (None, "null"), ("l1", "l1"), ("null", "'null'"), ("a|b", "'a|b'"),
        ({"codegen": [0.1, 1]}, "{codegen: [0.1, 1]}"),
    ],
)  # fmt: skip
def test_a_value_is_read_back_from_the_command_line(value, text):
    assert literal(value) == text
    assert compose_job("merge", [f"merge.exclude={text}"]).cfg.merge.exclude == value


def test_the_command_of_a_point_makes_its_recipe():
    found = points(JOB, ["ties"])
    point = Point("ties", {"merge.weight": 0.3, "merge.lambda": 0.7})
    overrides = found.overrides(point)
    assert overrides == ["merge.density=0.2", "seed=1", "merge=ties", "merge.weight=0.3", "merge.lambda=0.7"]
    typed = compose_job("merge", overrides)
    assert MergePoints(typed, ["ties"], SPECIALISTS).recipe(Point("ties", {})) == found.recipe(point)
    assert found.recipe(point).coefficients(["codegen", "codesum"]) == pytest.approx({"codegen": 0.3, "codesum": 0.7})


def test_coefficients_by_name_are_one_override():
    found = points(compose_job("merge", []), ["ties"])
    point = Point("ties", {"merge.weights.codegen": 0.3, "merge.weights.codesum": 0.9})
    assert found.overrides(point) == ["merge=ties", "merge.weights={codegen: 0.3, codesum: 0.9}"]
    assert found.recipe(point).coefficients(["codegen", "codesum"]) == {"codegen": 0.3, "codesum": 0.9}


def test_a_specialist_is_a_merge_of_itself():
    job = compose_job("merge", ["merge=ties", "merge.density=0.2", "merge.tokenizer=union", "search=tpe"])
    recipe = points(job, ["ties"]).specialist("codesum")
    assert (recipe.method, recipe.tokenizer) == ("linear", "union")
    assert recipe.coefficients(["codegen", "codesum"]) == {"codegen": 0.0, "codesum": 1.0}


def test_the_configured_method():
    assert configured_method(JOB) == "ties"
    assert configured_method(compose_job("merge", ["merge.weight=0.1", "merge=dare_ties"])) == "dare_ties"
    assert configured_method(compose_job("merge", [])) == "ties"


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({"merge.density": [0, 2]}, r"search\.space\.merge\.density: merge\.density must be"),
        ({"merge.rescale": ["l1", "l3"]}, r"search\.space\.merge\.rescale: .*l3"),
        ({"merge.weights.codegen": [0, 1]}, r"search\.space\.merge\.weights\.codegen: merge\.weights .*codesum"),
    ],
)
def test_a_range_that_the_method_refuses_is_one_line(space, match):
    found = points(compose_job("merge", []), ["ties"])
    with pytest.raises(UserError, match=match):
        found.check(search_space(space, found.nodes, found.names))
