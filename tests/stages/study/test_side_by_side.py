"""A study gives the same tables by bytes with one job after the other and with jobs side by side."""

import pytest

from src.stages.job import compose_job
from src.stages.study.run import study
from tests.stages.study.test_run import overrides


@pytest.mark.slow
def test_jobs_side_by_side_change_no_number(tmp_path):
    typed = {"one": ("serial", []), "two": ("local", ["executor.workers=2", "executor.threads=1"])}
    for name, (executor, more) in typed.items():
        root = tmp_path / name
        settings = [*overrides(root, executor), "study.seeds=[0,1]", "threads=1", f"output={root}/study/pocket", *more]
        study(compose_job("study", settings))
    tables = ["headline.csv", "ablation.csv"]
    places = [tmp_path / name / "study" / "pocket" for name in typed]
    for table in tables:
        one, two = ((place / table).read_text() for place in places)
        assert one == two
    made = [sorted(path.parent.name for path in (tmp_path / name).glob("*/*/run.json")) for name in typed]
    assert made[0] == made[1]
    bases = [path.name for path in (tmp_path / "two" / "train").glob("*-base-*")]
    assert len(bases) == 1  # for both training seeds
    assert len(list((tmp_path / "two" / "train").glob("*-mix-*"))) == 2
