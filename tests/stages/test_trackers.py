"""Loggers of a job's config, before there is a run."""

import pytest

from src.stages.job import compose_job
from src.stages.trackers import check_trackers
from src.utils.errors import UserError


@pytest.mark.parametrize(("script", "typed"), [("train", "strategy=fisher"), ("evaluate", "logger=[csv,tensorboard]")])
def test_loggers_are_checked_without_a_run(script, typed, tmp_path):
    """Also the table of training steps, which is told where the record of its run is."""
    pytest.importorskip("tensorboard")
    check_trackers(compose_job(script, [typed, f"output_root={tmp_path}"]))
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_of_studies():
    with pytest.raises(UserError, match=r"logger\.report=true .* train\.py has none"):
        check_trackers(compose_job("train", ["+logger.report=true"]))
