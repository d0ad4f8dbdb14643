"""Languages of conf/benchmark/language for tests; where a compiler is missing, the test is skipped with the message."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.evaluation.grading.forms.languages import Language, Toolchain
from src.utils.errors import UserError

CONF = Path(__file__).parents[4] / "conf" / "benchmark" / "language"


def language(name: str, **changes: Any) -> Language:
    """A language, installed on this machine."""
    found: Language = dataclasses.replace(
        instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="all"), **changes
    )
    try:
        Toolchain(found)
    except UserError as error:
        pytest.skip(str(error))
    return found


def plain(name: str, **changes: Any) -> dict[str, Any]:
    """The same, as rows have it."""
    return dataclasses.asdict(language(name, **changes))
