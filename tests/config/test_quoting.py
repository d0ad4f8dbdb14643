"""Paths with characters that Hydra's grammar reads as its own."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.config.quoting import quote_path, value_of
from src.stages.build import build
from src.stages.job import compose_job
from src.stages.study.jobs import StudyJobs
from src.utils.errors import UserError

NAMES = ["a(1)", "[x]", "{x}", "x,y", "x=y", "it's", "b#c", "modèle", "模型", "a b", "a&b;c!", 'say "it"', "x{y: 1}"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["base", "specialists.codegen", "output"])
def test_an_existing_path_arrives_as_typed(tmp_path: Path, name: str, key: str) -> None:
    place = tmp_path / name
    place.mkdir()
    argument = quote_path(f"{key}={place}")
    parsed = OverridesParser.create().parse_override(argument)
    assert parsed.value() == str(place)
    assert not parsed.is_sweep_override()


@pytest.mark.parametrize("name", [*NAMES, "a=b", "mix-s0", "codegen_fair+bugfix", "qwen2.5", "end\\", "a\\'b"])
def test_a_path_of_ours_arrives_whether_it_exists_or_not(name: str) -> None:
    for place in (f"/nowhere/{name}/x", f"{name}/x"):
        for override in (f"base={value_of(place)}", f"variants={{m: {value_of(place)}}}"):
            parsed = OverridesParser.create().parse_override(override)
            assert parsed.value() == (place if override.startswith("base") else {"m": place})


def test_a_study_takes_any_output_root() -> None:
    jobs = StudyJobs(build(compose_job("study", []).cfg.study), 0, "runs/a=b (2)")
    assert jobs.base.job.cfg.output_root == "runs/a=b (2)"
    assert "output_root='runs/a=b (2)'" in jobs.base.job.overrides


def test_a_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    assert quote_path("base=~/models") == "base='~/models'"


@pytest.mark.parametrize(
    "argument",
    [
        "base=runs/one",
        "base='runs/(1)'",
        "checkpoint=A,B",
        "base=org/name@main",
        "merge.weights={codegen: .3, codesum: .7}",
        "merge.weight=0.1,0.2,...,0.9",
        "-m",
        "output=${hydra:runtime.cwd}/x",
        "base=",
        "output=runs/a,runs/b",
    ],
)
def test_other_arguments_are_left_alone(argument: str) -> None:
    assert quote_path(argument) == argument


def test_an_output_need_not_exist() -> None:
    assert quote_path("output=runs/mix (2)=x") == "output='runs/mix (2)=x'"
    assert quote_path("output={x}") == "output='{x}'"
    assert quote_path("output=null") == "output=null"


def test_a_path_that_does_not_exist_shows_the_quoting() -> None:
    with pytest.raises(UserError) as caught:
        quote_path("specialists.codegen=nowhere/it's (1)")
    shown = str(caught.value).partition("those of the shell: ")[2]
    [word] = shlex.split(shown)
    assert OverridesParser.create().parse_override(word).value() == "nowhere/it's (1)"


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_command_can_be_typed_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    override = quote_path(f"base={tmp_path / name}")
    job = compose_job("merge", [override])
    assert job.cfg.base == str(tmp_path / name)
    assert shlex.split(" ".join(job.command)) == ["python", "merge.py", override]
