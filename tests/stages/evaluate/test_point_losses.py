import pytest

from src.stages.evaluate import point_losses
from src.stages.evaluate.coefficient_losses import CoefficientLosses, mean_loss
from src.stages.evaluate.point_losses import PointLosses
from src.stages.job import compose_job
from src.stages.merge.jobs import Parents
from src.stages.merge.lazy_points import lazy_points
from src.stages.merge.recorded import recorded_merge
from src.stages.merge.run import merge
from src.utils.errors import UserError
from tests.stages.evaluate.test_losses import measured
from tests.stages.evaluate.test_run import table

FEW = "benchmark.limit=12"
TASKS = ("codegen", "codesum")


def measure(root, journal=None):
    return PointLosses.of(compose_job("evaluate", ["benchmark=nll", FEW, f"output_root={root}"]), journal)


def merging(world, *overrides):
    return compose_job("merge", [*overrides, f"output_root={world}"])


def specialist(world, task):
    return world / "train" / f"pocket-specialist-{task}-s0"


def test_points_and_checkpoints_have_the_losses_that_evaluate_measures(world, tmp_path, monkeypatch):
    monkeypatch.setattr(point_losses, "MOST", 2)  # three points take two passes
    jobs = [merging(world, "merge=della", f"merge.weight={weight}") for weight in (0.2, 0.5, 0.8)]
    points = dict(zip("abc", lazy_points(jobs, tmp_path / "files"), strict=True))
    found = measure(tmp_path).measure({"codegen": specialist(world, "codegen"), **points})
    written = merge(merging(world, "merge=della", "merge.weight=0.5", f"output={tmp_path}/written"))
    for name, place in (("codegen", specialist(world, "codegen")), ("b", written)):
        scores = table(measured(tmp_path, place, FEW))["value"]
        for task in TASKS:
            assert found[name][task].mean == pytest.approx(scores[f"nll_{task}", "nll"], rel=1e-12)
    assert len({found[name]["codegen"].mean for name in found}) == 4


def test_a_point_has_the_identity_of_its_written_merge(world, tmp_path):
    [point] = lazy_points([merging(world, "merge=ties")], tmp_path / "files")
    lazy = merge(merging(world, "merge=ties", "save_weights=false", f"output={tmp_path}/lazy"))
    assert point.fingerprint == recorded_merge(lazy, "checkpoint").fingerprint


def test_a_journal_answers_for_what_was_measured(world, tmp_path, monkeypatch):
    points = lazy_points([merging(world, "merge=linear", f"merge.weight={w}") for w in (0.3, 0.6)], tmp_path / "files")
    journal = tmp_path / "journal.jsonl"
    first = measure(tmp_path, journal)
    before = first.measure({"a": points[0], "same": points[0]})
    assert first.spent.passes == 1
    with journal.open("a") as file:
        file.write('{"key": "half a li')  # killed while it was writing
    second = measure(tmp_path, journal)
    after = second.measure({"a": points[0], "b": points[1]})
    assert second.spent.passes == 1
    cost = second.cost_of([points[0], points[1], points[1]])
    assert (cost.passes, cost.seconds) == (2, pytest.approx(first.spent.seconds + second.spent.seconds, abs=1e-3))
    assert after["a"]["codesum"].values.tolist() == before["a"]["codesum"].values.tolist()
    others = PointLosses.of(compose_job("evaluate", ["benchmark=nll", "benchmark.limit=6"]), journal)
    others.measure({"a": points[0]})
    assert others.spent.passes == 1  # other rows


def test_a_point_that_cannot_be_merged_does_not_stop_the_others(world, tmp_path):
    absent = f"specialists.codegen={tmp_path}/absent"
    jobs = [merging(world, "merge=ties", absent), merging(world, "merge=linear")]
    refused, point = lazy_points(jobs, tmp_path / "files")
    assert isinstance(refused, UserError)
    assert measure(tmp_path).measure({"linear": point})["linear"]["codegen"].mean > 0


@pytest.fixture
def sums(world, tmp_path):
    job = merging(world, "merge=task_arithmetic")
    return CoefficientLosses(Parents.of(job.cfg), measure(tmp_path, tmp_path / "journal.jsonl"), tmp_path / "scratch")


def test_one_and_none_are_the_specialists_and_the_base(world, tmp_path, sums):
    found = sums.of([{}, {"codegen": 1.0}, {"codesum": 1.0}])
    places = [world / "train" / "pocket-base-s0", *(specialist(world, task) for task in TASKS)]
    whole = measure(tmp_path).measure({str(n): place for n, place in enumerate(places)})
    for one, other in zip(found, whole.values(), strict=True):
        assert [one[task].mean for task in TASKS] == pytest.approx([other[task].mean for task in TASKS], rel=1e-5)
    with pytest.raises(UserError, match=r"no specialist codgen; expected some of codegen, codesum"):
        sums.of([{"codgen": 1.0}])


def test_the_excess_of_the_mean_is_split(sums):
    [half, *alone] = sums.of([dict.fromkeys(TASKS, 0.5), *({task: 0.5} for task in TASKS)])
    own = sums.of([{task: 1.0} for task in TASKS])
    for number, (task, found) in enumerate(sums.split().items()):
        assert found.shrinkage.mean == pytest.approx(alone[number][task].mean - own[number][task].mean)
        assert found.interference.mean == pytest.approx(half[task].mean - alone[number][task].mean)
        assert found.excess.mean == pytest.approx(found.shrinkage.mean + found.interference.mean)


def test_the_best_common_coefficient_is_no_worse_than_a_fine_grid(sums):
    best = sums.best_common()
    spent = sums.measure.spent.passes
    assert len(best.measured) == spent <= 13
    assert sums.best_common() == best
    assert sums.measure.spent.passes == spent  # from the journal
    fine = sums.of([dict.fromkeys(TASKS, 0.05 * step) for step in range(31)])
    assert best.value <= min(map(mean_loss, fine)) + 1e-3
