import pytest

from src.search.samplers import CmaEs, GaussianProcess, Tpe, startup_points
from src.search.space import search_space
from src.utils.errors import UserError

TIES = {"weight": 0.5, "weights": None, "density": 0.5, "normalize": True}
TASKS = ["codegen", "codesum"]


@pytest.mark.parametrize(
    ("wanted", "budget", "methods", "expected"),
    [(None, 2, 1, 1), (None, 9, 1, 3), (None, 300, 1, 10), (None, 27, 3, 13), (None, 300, 3, 15), (7, 300, 3, 7)],
)
def test_random_points_before_the_model(wanted, budget, methods, expected):
    assert startup_points(wanted, budget, methods) == expected


@pytest.mark.parametrize(
    ("sampler", "wanted", "objectives", "match"),
    [
        (CmaEs(), {"merge.normalize": [True, False]}, ["loss"], r"search\.space\.merge\.normalize has choices"),
        (CmaEs(), {"merge.weight": [0, 1]}, ["loss"], r"search=cmaes needs two or more keys.*merge\.weight"),
        (CmaEs(), None, ["loss.a", "loss.b"], r"search=cmaes takes one search\.objective, got loss\.a, loss\.b"),
    ],
)
def test_what_a_sampler_cannot_search_is_one_line(sampler, wanted, objectives, match):
    space = search_space(wanted, {"ties": TIES}, TASKS)
    with pytest.raises(UserError, match=match):
        sampler.build(space, objectives, 10, 0)


@pytest.mark.parametrize("sampler", [CmaEs(), GaussianProcess()], ids=lambda sampler: sampler.name)
def test_several_methods_need_tpe(sampler):
    space = search_space(None, {"ties": TIES, "dare": TIES}, TASKS)
    with pytest.raises(UserError, match=rf"search={sampler.name} .*search\.space\.merge.*search=tpe"):
        sampler.build(space, ["loss"], 10, 0)


def test_a_wrong_setting_is_one_line():
    with pytest.raises(UserError, match=r"search\.sampler\.startup must be at least 1, got 0"):
        Tpe(startup=0)
