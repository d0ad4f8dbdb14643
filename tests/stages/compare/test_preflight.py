"""`compare.py preflight=...`: confounds are shown before the comparison, or refuse it."""

import pytest

from src.evaluation.statistics.scores import Score, write_scores
from src.runs.finished import open_finished
from src.stages.compare.run import compare, show
from src.stages.job import compose_job
from src.utils.errors import UserError
from tests.evaluation.preflight.records import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path).change("mix", **{"config.strategy.learning_rate": 2e-3})
    place = world.write()
    for name in ("mix", "ties"):
        rows = [Score("pocket_codegen", f"t{item}", "pass@1", float(item % 2)) for item in range(4)]
        write_scores(rows, name, place / name / "items.csv")
    return world


def run(world, *names, mode, folder="evaluate"):
    first, *others = [str(world.place / folder / name) for name in names]
    overrides = [f"reference={first}", f"runs=[{','.join(others)}]", f"output_root={world.place}", f"preflight={mode}"]
    return compare(compose_job("compare", overrides))


def test_findings_are_printed_recorded_and_on_the_page(world, capsys):
    directory = run(world, "mix", "ties", mode="warn")
    assert "caution: learning rate: mix: 0.002; codegen specialist of ties and" in capsys.readouterr().out
    [row] = open_finished(directory).results["preflight"]
    assert (row["kind"], row["severity"], row["key"]) == ("learning rate", "caution", "strategy.learning_rate")
    page = (directory / "differences.html").read_text()
    assert page.index("Before you compare") < page.index("learning rate: mix: 0.002")


def test_strict_refuses_and_off_is_silent(world, capsys):
    with pytest.raises(UserError, match=r"preflight=strict refuses.*learning rate: mix: 0\.002"):
        run(world, "mix", "ties", mode="strict")
    assert not (world.place / "compare").exists()
    directory = run(world, "mix", "ties", mode="off")
    assert open_finished(directory).results["preflight"] == []
    assert "learning rate" not in capsys.readouterr().out
    run(world, "ties", mode="strict")  # alone, it has nothing to differ from


def test_checkpoints_without_scores(world, capsys):
    directory = run(world, "mix", "ties", mode="warn", folder="models")
    show(directory, 3)
    printed = capsys.readouterr().out
    assert "learning rate: mix: 0.002" in printed
    assert "no scores to compare yet" in printed
    assert directory.name == "mix-vs-ties"
    with pytest.raises(UserError, match="preflight=strict refuses"):
        run(world, "mix", "ties", mode="strict", folder="models")


def test_an_unknown_mode(world):
    with pytest.raises(UserError, match="unknown preflight 'stirct', did you mean 'strict'"):
        run(world, "mix", "ties", mode="stirct")
