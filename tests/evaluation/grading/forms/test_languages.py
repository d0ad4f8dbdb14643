"""Languages as YAML: names in commands, checks of the file, and what is said about a missing compiler."""

import dataclasses
import os
import sys

import pytest

from src.evaluation.grading.forms.languages import Language, Toolchain, toolchain_of
from src.evaluation.sandbox.processes import ProcessLimits
from src.utils.errors import UserError
from tests.evaluation.grading.forms.languages import language

PLAIN = Language(name="Text", file="a.txt", run=("{python}", "{file}"), debian="text-tools")


def test_names_in_commands():
    more = {"class_pattern": r"class (\w+)", "file": "{class}.x", "run": ("{python}", "-x{class}", "{file}", "{other}")}
    toolchain = Toolchain(dataclasses.replace(PLAIN, **more))
    program = toolchain.program("class Foo class Bar")
    assert program.run == (os.path.realpath(sys.executable), "-xFoo", "Foo.x", "{other}")
    assert program.files == {"Foo.x": b"class Foo class Bar"}
    assert toolchain.program("").run[1] == "-xMain"


def test_header_and_programs_without_it():
    toolchain = Toolchain(dataclasses.replace(PLAIN, header="import x\n", no_header="^from __future__"))
    assert toolchain.program("y\udc80").files == {"a.txt": b"import x\ny?"}
    assert toolchain.program("# a\nfrom __future__ import b").files == {"a.txt": b"# a\nfrom __future__ import b"}


@pytest.mark.parametrize("key", ["run", "compile", "check"])
def test_a_missing_command_names_the_debian_package(key):
    missing = dataclasses.replace(PLAIN, **{key: ("no-such-compiler", "{file}")})
    with pytest.raises(UserError, match=r"Text: no-such-compiler is not installed; apt install text-tools"):
        Toolchain(missing)


def test_a_missing_library_names_the_debian_package():
    with pytest.raises(UserError, match=r"/no/such.jar is not installed; apt install text-tools"):
        Toolchain(dataclasses.replace(PLAIN, classpath=("/no/such.jar",)))


def test_a_compiler_that_programs_cannot_see_is_refused(tmp_path, monkeypatch):
    (tmp_path / "homemade").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    own = dataclasses.replace(PLAIN, run=("homemade",))
    with pytest.raises(UserError, match=r"cannot see.*language.visible"):
        Toolchain(own)
    assert Toolchain(dataclasses.replace(own, visible=(f"{tmp_path}/*",))).program("").run == (f"{tmp_path}/homemade",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": ()}, "language.run"),
        ({"compile": ("a",), "check": ("b",)}, "language.compile and language.check"),
        ({"class_pattern": "("}, "language.class_pattern"),
        ({"no_header": "("}, "language.no_header"),
        ({"time_factor": 0.0}, "language.time_factor"),
        ({"fences": "js"}, "language.fences"),
    ],
)
def test_defects_of_a_file(changes, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(PLAIN, **changes)


def test_limits_are_checked():
    with pytest.raises(UserError, match=r"limits.memory_mb must be at least 1"):
        ProcessLimits(memory_mb=0)


@pytest.mark.parametrize("name", ["python", "javascript", "java", "cpp"])
def test_a_language_survives_as_plain_values(name):
    found = language(name)
    assert toolchain_of(dataclasses.asdict(found)).language == found
