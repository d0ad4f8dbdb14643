import pytest

from src.stages.job import compose_job


@pytest.mark.parametrize(
    ("script", "overrides", "extras"),
    [
        ("train", ["strategy=mix", "strategy.steps=50"], ["steps50"]),
        ("train", ["strategy=mix", "seed=3", "output_root=/x", "logger=none"], []),
        ("merge", ["merge=ties", "merge.weight=0.3", "merge.density=0.2"], ["density0.2"]),
        ("merge", ["merge=dare", "merge.seed=1", "specialists.codegen=/x", "base=/y"], ["seed1"]),
    ],
)
def test_a_name_shows_what_changes_the_result(script, overrides, extras):
    named = ("model", "strategy", "task", "seed", "merge", "merge.weight")
    assert compose_job(script, overrides).extras(named) == extras


def test_many_overrides_make_a_short_name():
    overrides = [f"+tasks.codegen.a_key_with_a_long_name_{index}=codegen" for index in range(9)]
    [extra] = compose_job("train", overrides).extras(())
    [other] = compose_job("train", overrides[:-1]).extras(())
    assert len(extra) < 20
    assert extra != other


def test_the_command_can_be_typed_again():
    job = compose_job("merge", ["merge=ties", "merge.weights={codegen: 0.3, codesum: 0.7}"])
    assert job.command == ["python", "merge.py", "merge=ties", "'merge.weights={codegen: 0.3, codesum: 0.7}'"]


def test_places_are_no_part_of_a_runs_identity():
    one = compose_job("train", ["output_root=/a", "logger=none", "strategy=mix"])
    two = compose_job("train", ["output_root=/b", "output=/c/d", "strategy=mix"])
    assert one.identity() == two.identity() != compose_job("train", ["strategy=mix", "seed=1"]).identity()
