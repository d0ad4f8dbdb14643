"""Scripts answer at once what needs no libraries, and composing leaves the schemas as they are."""

import copy
import subprocess
import sys
from pathlib import Path

from hydra.core.config_store import ConfigStore

from src.config.schemas import register_schemas
from src.stages.job import compose_config

ROOT = Path(__file__).parents[2]


def test_a_missing_input_is_told_before_the_slow_imports():
    command = [sys.executable, "-X", "importtime", "evaluate.py"]
    ended = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    *imports, line = ended.stderr.splitlines()
    imported = {module.rpartition("|")[2].strip().partition(".")[0] for module in imports}
    assert ended.returncode == 2
    assert "checkpoint=DIR" in line
    assert "hydra" in imported
    assert not imported & {"torch", "transformers", "datasets", "pandas", "numpy", "evalplus", "lightning"}


def test_schemas_are_stored_once_and_stay_as_they_are():
    register_schemas()
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    first = compose_config("study", [])
    first.seed = 5
    assert compose_config("study", []).seed == 0
