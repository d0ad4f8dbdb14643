import pytest

from src.stages.build import build
from src.stages.job import compose_job
from src.stages.study.cells import Range, cell_override, cell_words, list_cells, overrides_for
from src.utils.errors import UserError

AXES = {
    "lr": {"train": ["strategy.learning_rate={}"]},
    "steps": {"specialist": ["strategy.steps={}"], "mix": ["strategy.steps={all}"]},
    "pair": {"study": ["study.tasks=[{}]"]},
}


def test_every_combination_of_the_lists_is_a_cell():
    cells = list_cells({"lr": [1e-4, 3e-4], "steps": None, "pair": ["codegen,codesum"]}, None, AXES)
    assert cells == [{"lr": 1e-4, "pair": "codegen,codesum"}, {"lr": 3e-4, "pair": "codegen,codesum"}]
    assert list_cells({"lr": None}, None, AXES) == []


def test_sobol_points_are_different_even_and_the_same_every_time():
    axes = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "steps": [100, 200, 300, 400]}
    cells = list_cells(axes, 32, AXES)
    assert cells == list_cells(axes, 32, AXES)
    assert len({(cell["lr"], cell["steps"]) for cell in cells}) == 32
    assert 14 <= sum(cell["lr"] < 1e-3 for cell in cells) <= 18  # half of a logarithmic range
    assert all(sum(cell["steps"] == steps for cell in cells) in (7, 8, 9) for steps in axes["steps"])


def test_a_range_is_worked_out_by_hand():
    assert Range(1.0, 100.0, log=True).at(0.5) == 10.0
    assert Range(1.0, 3.0).at(0.5) == 2.0


@pytest.mark.parametrize(
    ("axes", "points", "words"),
    [
        ({"lrr": [1]}, None, "unknown axis of study.cells 'lrr', did you mean 'lr'"),
        ({"lr": []}, None, r"study\.cells\.lr: expected one value"),
        ({"lr": {"low": 1, "high": 2}}, None, r"study\.cells\.lr is a range; set study\.points"),
        ({"lr": {"low": 2, "high": 1}}, 4, "expected low < high"),
        ({"lr": {"low": 1, "height": 2}}, 4, r"study\.cells\.lr.*height"),
        ({"steps": [1, 2]}, 4, "only 2 different cells"),
    ],
)
def test_axes_that_make_no_cells_are_refused(axes, points, words):
    with pytest.raises(UserError, match=words):
        list_cells(axes, points, AXES)


def test_a_cell_changes_the_commands_of_its_targets():
    cell = {"lr": 3e-4, "steps": 300, "pair": "codegen,bugfix"}
    found = {target: overrides_for(target, cell, AXES, tasks=2) for target in ("base", "train", "mix", "study")}
    assert found == {
        "base": [],
        "train": ["strategy.learning_rate=0.0003"],
        "mix": ["strategy.steps=600"],
        "study": ["study.tasks=[codegen,bugfix]"],
    }
    assert cell_words(cell) == ["lr0.0003", "steps300", "paircodegen+bugfix"]
    assert len(cell_words({f"axis{n}": n for n in range(20)})) == 1


def test_the_override_of_a_cell_is_read_back_as_it_was():
    cell = {"lr": 3e-4, "pair": "codegen,codesum"}
    plan = build(compose_job("study", ["study=fair", cell_override(cell)]).cfg.study)
    assert dict(plan.cell) == cell
    assert plan.all_cells == []
    assert plan.overrides_of("mix")[-1] == "strategy.learning_rate=0.0003"
