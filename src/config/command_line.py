"""Expand sequences before Hydra sees the command line, and print a mistake as one clear line."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from src.config.ellipsis import expand_ellipsis
from src.config.groups import CONF, check_choices
from src.config.quoting import quote_path
from src.utils.disk import disk_failure_line, is_disk_failure
from src.utils.errors import AlreadyTold, Interrupted, Stopped, UserError, printable, unknown_choice
from src.utils.ranks import is_first_of_node
from src.utils.signals import interrupting
from src.utils.threads import set_threads

BAD_INPUT = 2
OPTIONS_WITH_VALUE = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--cfg",
    "-c",
    "--package",
    "-p",
)
SIGNALED = 128  # plus the number of the signal: the exit code that shells use


class Script:
    """One of the six scripts: `with script.job(threads):` around a job, `script.run(main)` around the command.

    Bad input prints one line on stderr and ends the script with exit code 2, after the other jobs of a sweep. Ctrl-C,
    SIGTERM and SIGHUP print how to resume and exit with 130, 143 and 129, as shells do. Any other exception is a bug of
    ours and keeps its traceback.

    Args:
        positional: Keys set by arguments without `=`, in turn; the last one takes all remaining arguments as a list.
    """

    def __init__(self, positional: Sequence[str] = ()) -> None:
        self._positional = positional
        self._failed = False
        self._process: int | None = None

    @contextlib.contextmanager
    def job(self, threads: int | None) -> Iterator[None]:
        """Run one job; errors are reported here, before Hydra adds its own lines.

        A job that a launcher runs in another process (joblib, submitit) also fails there, since only its exception
        reaches the command; the command then prints it again, because the job's own lines may be in a file.

        Args:
            threads: CPU threads of the process; set before the libraries that read them are imported.

        Raises:
            UserError: In another process, if the job failed.
        """
        set_threads(threads)
        try:
            yield
        except Exception as error:
            self._report(error)
            if os.getpid() != self._process:
                raise UserError(f"a job of the sweep failed: {explain(error)}") from None

    def run(self, main: Callable[[], object]) -> None:
        """Run the `@hydra.main` function as a command."""
        self._process = os.getpid()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions reach us instead of Hydra's error printer
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle OpenMP threads that spin slow down small models 5-8x
        try:
            arguments = name_positional(sys.argv[1:], self._positional) if self._positional else sys.argv[1:]
            sys.argv[1:] = [expand_ellipsis(quote_path(argument)) for argument in arguments]
            check_choices(sys.argv[1:])
            with interrupting():
                main()
        except KeyboardInterrupt:
            _end(Interrupted(signal.SIGINT))
        except Interrupted as request:
            _end(request)
        except Exception as error:
            self._report(error)
        if self._failed:
            sys.exit(BAD_INPUT)

    def _report(self, error: Exception) -> None:
        line = explain(error)
        if line is None:
            raise error
        own = isinstance(error, Stopped) and error.own
        if own or (is_first_of_node() and not isinstance(error, AlreadyTold)):  # most errors occur on all ranks
            sys.stderr.write(f"error: {printable(line)}\n")
        self._failed = True


def name_positional(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Turn arguments without `=` into overrides.

    Args:
        arguments: As typed; Hydra's own options keep their values.
        keys: Set in turn by one argument each, the last one by all remaining arguments.

    Example:
        >>> name_positional(["A", "B", "seed=1", "C"], ("reference", "runs"))
        ['seed=1', "reference='A'", "runs=['B','C']"]
    """
    named, values = list[str](), list[str]()
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_value = "=" not in argument and not argument.startswith(("-", "~")) and before not in OPTIONS_WITH_VALUE
        (values if is_value else named).append(argument)
    quoted = ["'" + value.replace("'", "\\'") + "'" for value in values]
    *single, rest = keys
    named += [f"{key}={value}" for key, value in zip(single, quoted, strict=False)]
    return named + ([f"{rest}=[{','.join(quoted[len(single) :])}]"] if len(quoted) > len(single) else [])


def _end(request: Interrupted) -> NoReturn:
    if is_first_of_node() and not request.told:
        sys.stderr.write("\ninterrupted; the same command resumes the run\n")
    sys.exit(SIGNALED + request.number)


def explain(error: BaseException) -> str | None:
    """The line that tells the user what to change; None for a bug of ours."""
    if isinstance(error, UserError):
        return str(error)
    if is_disk_failure(error):
        return disk_failure_line(error)
    if isinstance(error, OSError) and error.filename is not None:
        hint = "; raise the limit with ulimit -n" if error.errno == errno.EMFILE else ""
        return f"{error.filename}: {error.strerror}{hint}"
    if isinstance(error, InstantiationException):
        return _explain_instantiation(error)
    if isinstance(error, MissingConfigException):
        return str(unknown_file(error, sys.argv[1:]))
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _one_line(error)
    return None


def unknown_file(error: MissingConfigException, overrides: Sequence[str]) -> UserError:
    """Error for a name without a file in its config group, e.g. `tasks=[codgen]`.

    Args:
        error: Hydra's error.
        overrides: As typed; `hydra.searchpath` among them adds directories.
    """
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    places = [override for override in overrides if override.startswith("hydra.searchpath=")]
    running = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        found = GlobalHydra.instance().config_loader().get_group_options(group, overrides=places)
    if not found:
        return UserError(_one_line(error))
    return unknown_choice(group.removesuffix("s"), name, [option for option in found if not option.startswith("_")])


def _explain_instantiation(error: InstantiationException) -> str | None:
    cause = error.__cause__
    if cause is None or isinstance(cause, OmegaConfBaseException):
        return _one_line(error)
    if isinstance(cause, TypeError) and "argument" in str(cause):
        return _one_line(error)  # an unknown or missing key of a YAML node
    return explain(cause)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if unknown := re.fullmatch(r"Could not override '(.+)'\.", text):
        return f"unknown key {unknown[1]}; add `--cfg job` to the command to print all keys with their values"
    if unknown := re.fullmatch(r"Could not override '(.+)'\. No match in the defaults list\.", text):
        hint = f"; a study has study.{unknown[1]}" if Path(sys.argv[0]).stem == "study" else ""
        return f"this script has no group {unknown[1]}, --help lists its groups{hint}"
    return "; ".join(line for line in lines if not line.startswith(("reference_type", "object_type")))
