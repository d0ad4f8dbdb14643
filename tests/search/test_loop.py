"""Searches over toy functions, whose best point is known."""

import math
from itertools import islice

import pytest

from src.search.loop import Objective, Search, Trial, best, front
from src.search.samplers import CmaEs, GaussianProcess, Random, Tpe
from src.search.space import Point, search_space
from src.utils.errors import Stopped, UserError

TIES = {"weight": 0.5, "weights": None, "density": 0.5}
LINEAR = {"weight": 0.5, "weights": None}
LOSS = (Objective("loss", minimize=True),)
BOTH = (Objective("a", minimize=True), Objective("b", minimize=False))


def bowl(point):
    """Smallest, 0, at weight 0.4 and density 0.8; a method without density is 0.01 worse."""
    density = point.values.get("merge.density", 0.7)
    return {"loss": (point.values["merge.weight"] - 0.4) ** 2 + (density - 0.8) ** 2}


def one_by_one(score):
    """Score points with a function of one point."""

    def scores(points):
        for point in points:
            try:
                yield score(point)
            except UserError as error:
                yield error

    return scores


def searching(sampler, budget, objectives=LOSS, seed=0, methods=None, start=None, batch=1):
    nodes = {"ties": TIES} if methods is None else methods
    space = search_space(None, nodes, ["codegen", "codesum"])
    names = [objective.name for objective in objectives]
    return Search(space, sampler.build(space, names, budget, seed), objectives, budget, start, batch)


def values(trials):
    return [(trial.number, trial.point, trial.measured, trial.state) for trial in trials]


@pytest.mark.parametrize(
    ("sampler", "budget", "within"), [(Tpe(), 40, 5e-3), (CmaEs(), 40, 5e-3), (Random(), 40, 0.05)]
)
def test_a_sampler_finds_the_bottom_of_a_bowl(tmp_path, sampler, budget, within):
    trials = list(searching(sampler, budget).run(one_by_one(bowl), tmp_path / "journal"))
    assert len(trials) == budget
    assert bowl(best(trials, LOSS).point)["loss"] < within


@pytest.mark.slow  # scipy and torch's optimizers
def test_a_gaussian_process_finds_the_bottom_with_few_points(tmp_path):
    trials = list(searching(GaussianProcess(), 12).run(one_by_one(bowl), tmp_path / "journal"))
    assert bowl(best(trials, LOSS).point)["loss"] < 1e-3


@pytest.mark.parametrize("sampler", [Tpe(), CmaEs(), Random()], ids=lambda sampler: sampler.name)
@pytest.mark.parametrize(("done", "batch"), [(1, 1), (13, 1), (10, 4)])
def test_an_interrupted_search_ends_like_an_uninterrupted_one(tmp_path, sampler, done, batch):
    whole = list(searching(sampler, 20, batch=batch).run(one_by_one(bowl), tmp_path / "whole"))
    interrupted = tmp_path / "interrupted"
    list(islice(searching(sampler, 20, batch=batch).run(one_by_one(bowl), interrupted), done))
    with interrupted.open("a") as file:
        file.write('{"number": 99, "poi')  # killed while it was writing
    asked = []
    resumed = list(
        searching(sampler, 20, batch=batch).run(
            one_by_one(lambda point: asked.append(point) or bowl(point)), interrupted
        )
    )
    assert values(resumed) == values(whole)
    assert len(asked) == 20 - done
    assert [line for line in interrupted.read_text().splitlines() if "99" in line[:12]] == []


def test_points_of_a_batch_are_scored_together(tmp_path):
    batches = []

    def score(points):
        batches.append(len(points))
        return iter([bowl(point) for point in points])

    trials = list(searching(Tpe(), 10, batch=4).run(score, tmp_path / "journal"))
    assert batches == [4, 4, 2]
    assert [trial.number for trial in trials] == list(range(10))


def test_seeds_give_different_points(tmp_path):
    runs = [list(searching(Random(), 3, seed=seed).run(one_by_one(bowl), tmp_path / str(seed))) for seed in (0, 1)]
    assert runs[0][0].point != runs[1][0].point


def test_the_journal_of_another_search_is_refused(tmp_path):
    list(searching(Random(), 2, seed=0).run(one_by_one(bowl), tmp_path / "journal"))
    with pytest.raises(UserError, match=r"journal holds another search: point 0"):
        list(searching(Random(), 2, seed=1).run(one_by_one(bowl), tmp_path / "journal"))


def test_a_space_with_branches_is_searched(tmp_path):
    trials = list(
        searching(Tpe(), 40, methods={"ties": TIES, "linear": LINEAR}).run(one_by_one(bowl), tmp_path / "journal")
    )
    assert {trial.point.method for trial in trials} == {"ties", "linear"}
    assert all(("merge.density" in trial.point.values) == (trial.point.method == "ties") for trial in trials)
    assert best(trials, LOSS).measured["loss"] < 0.02


def test_the_first_point_is_the_given_one(tmp_path):
    start = Point("ties", {"merge.weight": 0.5, "merge.density": 0.5})
    [first] = islice(searching(Tpe(), 5, start=start).run(one_by_one(bowl), tmp_path / "journal"), 1)
    assert first.point == start


def test_a_point_that_fails_costs_one_point(tmp_path):
    start = Point("ties", {"merge.weight": 0.5, "merge.density": 0.5})

    def score(point):
        if point.values["merge.weight"] > 0.6:
            raise UserError("too heavy")
        return {"loss": math.nan if point.values["merge.weight"] > 0.5 else 0.0}

    trials = list(searching(Random(), 12, start=start).run(one_by_one(score), tmp_path / "journal"))
    reasons = {trial.reason for trial in trials}
    assert reasons == {"", "too heavy", "loss is not finite"}
    assert len(trials) == 12
    assert best(trials, LOSS).state == "finished"


@pytest.mark.parametrize(("error", "after"), [(UserError("no parents"), 0), (Stopped("disk full"), 2)])
def test_what_is_wrong_with_every_point_ends_the_search(tmp_path, error, after):
    calls = []

    def score(point):
        calls.append(point)
        if len(calls) > after:
            raise error
        return bowl(point)

    with pytest.raises(UserError, match=str(error)):
        list(searching(Random(), 5).run(one_by_one(score), tmp_path / "journal"))
    assert len(calls) == after + 1


def test_a_point_is_scored_once(tmp_path):
    calls = []

    def score(point):
        calls.append(point)
        return {"loss": 0.0}

    space = search_space({"merge.density": [0.1, 0.5, 0.9]}, {"ties": TIES}, ["codegen", "codesum"])
    search = Search(space, Random().build(space, ["loss"], 12, 0), LOSS, 12)
    trials = list(search.run(one_by_one(score), tmp_path / "journal"))
    assert len(trials) == 12
    assert len(calls) == len({point.values["merge.density"] for point in calls}) == 3


def trial(number, a, b, reason=""):
    return Trial(number, Point("ties", {}), {} if reason else {"a": a, "b": b}, 1.0, reason)


def test_the_front_by_hand():
    """a is minimized, b maximized: 1 is beaten by 0; 4 equals 2; 5 failed."""
    trials = [trial(0, 1, 1), trial(1, 1, 0.5), trial(2, 2, 3), trial(3, 4, 4), trial(4, 2, 3), trial(5, 0, 0, "x")]
    assert [found.number for found in front(trials, BOTH)] == [0, 2, 3]
    # scaled, (a, 1 - b): (0, 1), (1/3, 1/3), (1, 0)
    assert best(trials, BOTH).number == 2


def test_the_best_of_one_objective_is_the_first_with_the_lowest_value():
    trials = [trial(0, 2, 0), trial(1, 1, 0), trial(2, 1, 0)]
    assert best(trials, BOTH[:1]).number == 1
    with pytest.raises(UserError, match=r"none of 1 points could be scored; the first: x"):
        best([trial(0, 0, 0, "x")], BOTH)


def test_several_objectives(tmp_path):
    def score(point):
        return {"a": point.values["merge.weight"], "b": point.values["merge.weight"] ** 2}

    trials = list(searching(Tpe(), 25, BOTH).run(one_by_one(score), tmp_path / "journal"))
    found = front(trials, BOTH)
    assert len(found) == len({trial.point.values["merge.weight"] for trial in trials})  # the two contradict each other
