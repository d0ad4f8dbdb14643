import errno
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.config.command_line import Script, explain, name_positional
from src.stages.job import compose_job
from src.utils.errors import AlreadyTold, Interrupted, Stopped, UserError, first_differences, unknown_choice

ROOT = Path(__file__).resolve().parents[2]


def takes_two(first, second=2):
    if first < 0:
        raise UserError("first: expected 0 or more")
    return first / second


def failure_of(**arguments):
    with pytest.raises(HydraException) as caught:
        instantiate({"_target_": f"{__name__}.takes_two", **arguments})
    return caught.value


def test_a_users_mistake_inside_a_node_is_its_own_line():
    assert explain(failure_of(first=-1)) == "first: expected 0 or more"


def test_an_unknown_key_of_a_node_is_named():
    assert "third" in explain(failure_of(first=1, third=3))


def test_our_own_defects_keep_their_traceback():
    assert explain(failure_of(first=1, second=0)) is None
    assert explain(ZeroDivisionError("x")) is None


def test_a_full_disk_is_one_line():
    line = explain(OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl"))
    assert line == (
        "cannot write runs/x/metrics.jsonl: No space left on device; free some space, then resume with the same command"
    )
    assert explain(PermissionError(errno.EACCES, "Permission denied")) is None


def test_a_missing_key_is_one_line():
    cfg = OmegaConf.create({"steps": 1})
    OmegaConf.set_struct(cfg, True)
    with pytest.raises(Exception, match="stepz") as caught:
        cfg.stepz  # noqa: B018
    line = explain(caught.value)
    assert "stepz" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("raised", "code"), [(UserError("no such file"), 2), (KeyboardInterrupt(), 130), (Interrupted(15), 143)]
)
def test_exit_codes(monkeypatch, capsys, raised, code):
    def main():
        raise raised

    monkeypatch.setattr(sys, "argv", ["train.py", "seed=0,1,...,3"])
    with pytest.raises(SystemExit) as caught:
        Script().run(main)
    assert caught.value.code == code
    assert sys.argv == ["train.py", "seed=0,1,2,3"]
    printed = capsys.readouterr().err
    assert printed.strip() in ("error: no such file", "interrupted; the same command resumes the run")


@pytest.mark.parametrize(
    ("raised", "local_rank", "printed"),
    [
        (UserError("why"), "0", "error: why\n"),
        (UserError("why"), "1", ""),  # the first process of the machine says it
        (Stopped("my own", own=True), "1", "error: my own\n"),
        (AlreadyTold("process 0 failed"), "0", ""),
    ],
)
def test_several_processes_say_it_once(monkeypatch, capsys, raised, local_rank, printed):
    def main():
        raise raised

    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    with pytest.raises(SystemExit) as caught:
        Script().run(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == printed


def test_first_differences_are_five():
    assert first_differences("tensors", list("abcdefg")) == "tensors: a; b; c; d; e (and 2 more)"


def test_unknown_choice_suggests():
    message = str(unknown_choice("method", "tise", ["ties", "dare"]))
    assert message == "unknown method 'tise', did you mean 'ties'? Available: dare, ties"


def test_the_other_jobs_of_a_sweep_go_on(monkeypatch, capsys):
    done = []
    script = Script()

    def main():
        for job in ("good", "bad", "good too"):
            with script.job(None):
                if job == "bad":
                    raise UserError("job two: density=2")
                done.append(job)

    monkeypatch.setattr(sys, "argv", ["merge.py"])
    with pytest.raises(SystemExit) as caught:
        script.run(main)
    assert caught.value.code == 2
    assert done == ["good", "good too"]
    assert capsys.readouterr().err == "error: job two: density=2\n"


def test_arguments_without_a_key_are_named_in_turn():
    keys = ("reference", "runs")
    assert name_positional(["A", "x=1", "B", "C"], keys) == ["x=1", "reference='A'", "runs=['B','C']"]
    assert name_positional(["A"], keys) == ["reference='A'"]
    assert name_positional(["it's/run"], keys) == [r"reference='it\'s/run'"]
    options = ["--config-dir", "conf2", "-m", "seed=1,2", "--help"]
    assert name_positional(options, keys) == options


def test_a_group_of_another_script_is_named(monkeypatch):
    monkeypatch.setattr("sys.argv", ["study.py", "tasks=[codegen]"])
    with pytest.raises(ConfigCompositionException) as caught:
        compose_job("study", ["tasks=[codegen]"])
    assert "no group tasks" in explain(caught.value)
    assert "study.tasks" in explain(caught.value)


def test_a_job_in_another_process_fails_there_too(monkeypatch, capsys):
    """Else a sweep with hydra/launcher=joblib or submitit_local ends with exit code 0."""
    script = Script()
    monkeypatch.setattr(script, "_process", 1)
    with pytest.raises(UserError, match=r"a job of the sweep failed: density=2"), script.job(None):
        raise UserError("density=2")
    assert capsys.readouterr().err == "error: density=2\n"
    with pytest.raises(ZeroDivisionError), script.job(None):
        raise ZeroDivisionError


@pytest.mark.slow
def test_sweeps_with_joblib_report_failed_jobs(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "base=/nowhere", "strategy=mix", "seed=1,2"]
    command = [sys.executable, "train.py", *sweep, f"output_root={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "error: base=/nowhere" in done.stderr
    assert "error: a job of the sweep failed: base=/nowhere" in done.stderr
    assert "Traceback" not in done.stderr
