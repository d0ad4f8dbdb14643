"""The corpus: how many behaviors, disjoint splits, the same bytes everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from src.pocket.corpus import SPLITS, PocketCorpus, behavior, corpus
from src.pocket.programs.composition import STYLES
from src.pocket.programs.inputs import probes
from src.pocket.programs.render import Program
from src.utils.errors import UserError
from tests.pocket.conftest import Run

DIGEST = """
import hashlib, json
from src.pocket.benchmarks import problems, summary_rows
from src.pocket.sources import PocketSource
rows = [[problems(s, 20), summary_rows(s, 20)] for s in ("train", "validation", "test")]
texts = [(e.id, e.prompt, e.answer) for t in ("base", "codegen", "codesum") for e in PocketSource(t).examples("test")]
print(hashlib.sha256(json.dumps([rows, texts]).encode()).hexdigest())
"""


def test_at_least_2000_semantics_counted_by_what_the_programs_return(run: Run) -> None:
    seen = set()
    for index, composition in enumerate(corpus(0).compositions("train")):
        program = Program(composition, "f", "", tuple(composition.body(STYLES[index % len(STYLES)])))
        results = run(program.source, "f", probes(composition.parameters))
        seen.add((composition.parameters, repr(results)))
    assert len(seen) >= 2000


def test_splits_are_disjoint_by_composition_and_by_behavior() -> None:
    keys = [composition.key for split in SPLITS for composition in corpus(0).compositions(split)]
    behaviors = [behavior(composition) for split in SPLITS for composition in corpus(0).compositions(split)]
    sizes = [len(corpus(0).compositions(split)) for split in SPLITS]
    assert sizes == [corpus(0).train, corpus(0).held_out, corpus(0).held_out]
    assert len(set(keys)) == len(keys) == sum(sizes)
    assert len(set(behaviors)) == len(behaviors)


def test_every_family_is_in_every_split() -> None:
    families = [{composition.family for composition in corpus(0).compositions(split)} for split in SPLITS]
    assert families[0] == families[1] == families[2]
    assert len(families[0]) >= 12
    shares = Counter(composition.family for composition in corpus(0).compositions("train"))
    assert max(shares.values()) < 0.15 * corpus(0).train


def test_no_operator_is_idle() -> None:
    for composition in corpus(0).compositions("test"):
        assert all(behavior(simpler) != behavior(composition) for simpler in composition.simpler()), composition.key


def test_equal_bytes_in_other_processes_with_other_hash_seeds() -> None:
    digests = set()
    for hash_seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_seeds_differ() -> None:
    first, again, other = (PocketCorpus(seed, train=50, held_out=20) for seed in (3, 3, 4))
    assert [each.key for each in first.compositions("test")] == [each.key for each in again.compositions("test")]
    assert [each.key for each in first.compositions("test")] != [each.key for each in other.compositions("test")]


def test_unknown_split_lists_the_choices() -> None:
    with pytest.raises(UserError, match=r"unknown split 'dev'.*test, train, validation"):
        corpus(0).compositions("dev")


def test_probe_inputs_are_json() -> None:
    parameters = {composition.parameters for composition in corpus(0).compositions("train")}
    for names in sorted(parameters):
        inputs = list(probes(names))
        assert json.loads(json.dumps(inputs)) == inputs
        assert all(len(arguments) == len(names) for arguments in inputs)
