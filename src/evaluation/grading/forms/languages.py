"""Programming languages as commands: how a program's file is named, compiled or checked, and run."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, Strict

from src.evaluation.sandbox.launch import Extra, package_directories, visible_paths
from src.evaluation.sandbox.processes import ProcessJob, ProcessLimits
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

SCRATCH_BYTES = 256 << 20  # for what compilers write
COMPILER_OUTPUT_BYTES = 1 << 16
Texts = Annotated[tuple[str, ...], Strict(False)]  # YAML has lists alone


@checked_dataclass("language")
class Language:
    """A programming language (conf/benchmark/language).

    In commands, `{file}` is the program's file, `{class}` its class, `{classpath}` the class path, `{python}` this
    Python, and `{packages}` its packages. A command's program is looked up on the PATH.

    Attributes:
        name: Name, for prompts and messages.
        file: Name of the program's file.
        run: Command that runs it.
        compile: Command that compiles it; what it writes is there when the program runs. Empty: none.
        version: Command that prints its version, which is part of an evaluation's identity. Empty: none.
        check: Command that only looks for syntax errors, for languages without a compiler. Empty: none.
        class_pattern: Regular expression whose first group is the program's class; empty: `class_default`.
        class_default: Class of a program in which `class_pattern` finds none.
        classpath: Files for `{classpath}`.
        header: Text before every program, for example imports.
        no_header: Regular expression; a program in which it is found gets no header.
        environment: Environment variables.
        fences: Names of the language after a code fence.
        debian: Debian packages that provide all this, for the message when something is missing.
        visible: Files and directories (or patterns) that its programs see besides the system's libraries.
        time_factor: A test may take this many times the benchmark's time limit.
        compile_seconds: CPU seconds for compiling or checking.
        limits: Limits of a running program.
        compile_limits: Limits of the compiler.
    """

    name: str
    file: str
    run: Texts
    compile: Texts = ()
    check: Texts = ()
    version: Texts = ()
    class_pattern: str = ""
    class_default: str = "Main"
    classpath: Texts = ()
    header: str = ""
    no_header: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    fences: Texts = ()
    debian: str = ""
    visible: Texts = ()
    time_factor: Annotated[float, Field(gt=0)] = 1.0
    compile_seconds: Annotated[float, Field(gt=0)] = 30.0
    limits: ProcessLimits = field(default_factory=ProcessLimits)
    compile_limits: ProcessLimits = field(default_factory=lambda: ProcessLimits(processes=True))

    def __post_init__(self) -> None:
        if not self.run:
            raise UserError(f"language.run of {self.name}: expected a command, got an empty list")
        if self.compile and self.check:
            raise UserError(f"language.compile and language.check of {self.name}: expected one of them, got both")
        for key in ("class_pattern", "no_header"):
            try:
                re.compile(getattr(self, key))
            except re.error as error:
                raise UserError(f"language.{key} of {self.name}: expected a regular expression ({error})") from error

    def with_header(self, text: str) -> str:
        """Return a program with the header."""
        bare = self.no_header and re.search(self.no_header, text, re.MULTILINE)
        return text if bare else self.header + text


def toolchain_of(plain: Mapping[str, Any]) -> Toolchain:
    """Find a language, as `dataclasses.asdict` gives it, on this machine.

    Raises:
        UserError: It is not installed.
    """
    return _toolchain(json.dumps(plain, sort_keys=True))


@lru_cache(maxsize=64)  # every row of a benchmark has its language
def _toolchain(text: str) -> Toolchain:
    plain = json.loads(text)
    limits = {name: ProcessLimits(**plain[name]) for name in ("limits", "compile_limits")}
    return Toolchain(Language(**{**plain, **limits}))


class Toolchain:
    """A language on this machine.

    Args:
        language: The language.

    Raises:
        UserError: Something is not installed, or no program could see it; the message names the Debian packages.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self.extra = Extra(True, tuple(_existing(language.visible)), SCRATCH_BYTES)
        first = [
            command[0] for command in (language.compile, language.check, language.run, language.version) if command
        ]
        self.programs = {name: self._find(name) for name in first if not name.startswith(("./", "{"))}
        if missing := [path for path in language.classpath if not os.path.isfile(path)]:
            raise self._missing(missing[0])

    def program(self, text: str) -> Program:
        """Make the files and commands of a program."""
        found = re.search(self.language.class_pattern, text) if self.language.class_pattern else None
        names = {
            "class": found.group(1) if found else self.language.class_default,
            "classpath": ":".join([".", *self.language.classpath]),
            "python": os.path.realpath(sys.executable),
            "packages": ":".join(package_directories()),
        }
        names["file"] = self._fill(self.language.file, names)
        commands = (self.language.compile, self.language.check, self.language.run)
        compiling, checking, run = ([self._fill(part, names) for part in command] for command in commands)
        environment = {key: self._fill(value, names) for key, value in self.language.environment.items()}
        content = self.language.with_header(text).encode("utf-8", "replace")
        return Program(
            language=self.language,
            files={names["file"]: content},
            build=self._located(compiling or checking),
            built=bool(compiling),
            run=self._located(run),
            environment=environment,
        )

    def version(self) -> str:
        """Return what the version command prints; empty if there is none."""
        if not self.language.version:
            return ""
        command = self._located(self.language.version)
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return (found.stdout or found.stderr).strip()

    def _located(self, command: Sequence[str]) -> tuple[str, ...]:
        return (self.programs.get(command[0], command[0]), *command[1:]) if command else ()

    def _fill(self, text: str, names: Mapping[str, str]) -> str:
        return re.sub(r"\{(file|class|classpath|python|packages)\}", lambda found: names.get(found[1], ""), text)

    def _find(self, name: str) -> str:
        path = shutil.which(name)
        if path is None:
            raise self._missing(name)
        place = os.path.realpath(path)
        if not any(place == shown or place.startswith(f"{shown}/") for shown in visible_paths(self.extra)):
            raise UserError(
                f"{self.language.name}: {name} is {place}, which programs in the sandbox cannot see; install "
                f"{self.language.debian or name} from the system's packages, or add its directory to language.visible"
            )
        return place

    def _missing(self, what: str) -> UserError:
        package = self.language.debian or what
        return UserError(f"{self.language.name}: {what} is not installed; apt install {package}")


@dataclass(frozen=True)
class Program:
    """Files and commands of one program.

    Attributes:
        language: Its language.
        files: Content by name.
        build: Command that compiles or checks it; empty: none.
        built: `build` writes what `run` needs.
        run: Command that runs it.
        environment: Environment variables.
    """

    language: Language
    files: Mapping[str, bytes]
    build: tuple[str, ...]
    built: bool
    run: tuple[str, ...]
    environment: Mapping[str, str]

    def build_job(self) -> ProcessJob | None:
        """Return the job that compiles or checks it; None if there is nothing to do."""
        if not self.build:
            return None
        return ProcessJob(
            command=self.build,
            files=self.files,
            cpu=self.language.compile_seconds,
            output_bytes=COMPILER_OUTPUT_BYTES,
            limits=self.language.compile_limits,
            environment=self.environment,
            keep=self.built,
        )

    def run_job(self, stdin: bytes, seconds: float, output_bytes: int) -> ProcessJob:
        """Return the job of one run, in a directory with nothing but the program.

        Args:
            stdin: Standard input.
            seconds: The benchmark's time limit (CPU).
            output_bytes: Longest standard output.
        """
        return ProcessJob(
            command=self.run,
            files={} if self.built else self.files,
            stdin=stdin,
            cpu=seconds * self.language.time_factor,
            output_bytes=output_bytes,
            limits=self.language.limits,
            environment=self.environment,
            continues=self.built,
        )


def _existing(patterns: Sequence[str]) -> list[str]:
    return [path for pattern in patterns for path in sorted(glob.glob(pattern))]
