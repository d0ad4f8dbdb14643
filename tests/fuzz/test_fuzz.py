"""Hostile input of every kind: one clear line or a result, no other exception, no hang, nothing written.

`pytest -m slow tests/fuzz --hypothesis-show-statistics` prints how many examples were tried.
"""

import json
import tempfile
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.checkpoints import Checkpoint, write_checkpoint
from src.checkpoints.layout import INDEX_FILE, read_header
from src.config.command_line import explain
from src.config.ellipsis import expand_ellipsis
from src.config.groups import check_choices
from src.config.quoting import quote_path
from src.evaluation.generators.samples import read_samples
from src.evaluation.statistics.scores import read_scores
from src.runs.finished import open_finished
from src.runs.record import begin_run
from src.stages.build import build
from src.utils.jsonl import read_jsonl, read_sealed

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
pytestmark = pytest.mark.slow

KEYS = ["merge.weight", "merge.weights", "model", "strategy", "tasks", "output_root", "base", "seed", "specialists.a"]
PIECES = [
    *("0", "1", "0.1", "1e400", "-inf", "nan", "null", "true", "...", ",", "[", "]", "{", "}", ":", "=", "'", '"'),
    *(
        "\\",
        "${",
        "}",
        "${oc.env:HOME}",
        "range(",
        "choice(",
        ")",
        " ",
        "\n",
        "\x00",
        "\x1b[31m",
        "ü",
        "9" * 400,
        "../",
    ),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
OPTIONS = hypothesis.settings(
    max_examples=200, deadline=5_000, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
)


def answered(function, *arguments):
    """Call a function; whatever it raises must be a line for the user."""
    try:
        return function(*arguments)
    except Exception as error:
        if not explain(error):
            raise
        return None


@pytest.fixture(scope="module")
def record():
    """A finished run's record as JSON, without its digest, as a foreign tool would write it."""
    with tempfile.TemporaryDirectory() as place:
        run = begin_run(Path(place) / "run", stage="evaluate", config={"seed": 0})
        (run.work / "items.csv").write_text("subject,benchmark,metric,item,value\n")
        run.finish()
        found = json.loads((Path(place) / "run" / "run.json").read_text())
    del found["sha256"]
    return found


@OPTIONS
@hypothesis.given(st.sampled_from(KEYS), st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8))
def test_override_strings(key, pieces):
    typed = f"{key}={''.join(pieces)}"
    expanded = answered(expand_ellipsis, typed)
    if expanded is not None:
        assert len(expanded) <= 20 * 100_001 + len(typed)
        quoted = answered(quote_path, expanded)
        if quoted is not None:
            answered(check_choices, [quoted])
            answered(OverridesParser.create().parse_overrides, [quoted])


@OPTIONS
@hypothesis.given(
    JSON, st.sampled_from(["merge.method", "src.merging.registry.ties", "os.system", "", "a.b", "..", None])
)
def test_yaml_values(value, target):
    with tempfile.TemporaryDirectory() as place:
        try:
            node = OmegaConf.create({"_target_": target, "weight": value, "density": value, "path": place})
        except Exception:  # values that no YAML has
            return
        answered(build, node)
        assert not list(Path(place).iterdir())


@OPTIONS
@hypothesis.given(st.lists(JSON.map(json.dumps) | st.text(max_size=20), max_size=5), st.binary(max_size=10))
def test_jsonl(lines, tail):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.jsonl"
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + tail)
        before = path.read_bytes()
        for function in (read_jsonl, read_samples):
            answered(function, path)
        assert path.read_bytes() == before
        assert answered(read_sealed, path) == []  # no line has a digest


@OPTIONS
@hypothesis.given(st.lists(st.text(max_size=20), max_size=5), st.binary(max_size=10))
def test_tables_of_scores(lines, tail):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "items.csv"
        text = "\n".join(["subject,benchmark,metric,item,value", *lines])
        path.write_bytes(text.encode("utf-8", "surrogatepass") + tail)
        answered(read_scores, path)


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F64", "I4", "", 0]),
        "shape": st.lists(st.integers(-2, 1 << 70) | st.floats() | st.booleans(), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-9, 1 << 70), min_size=2, max_size=2) | JSON,
    }
)


@OPTIONS
@hypothesis.given(
    st.dictionaries(st.text(max_size=4), ENTRY | JSON, max_size=4), st.binary(max_size=64), st.integers(-9, 9)
)
def test_safetensors_headers(table, data, shift):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.safetensors"
        text = json.dumps(table).encode()
        path.write_bytes(max(0, len(text) + shift).to_bytes(8, "little") + text + data)
        entries = answered(read_header, path)
        if entries:
            assert sum(entry.info.nbytes for entry in entries.values()) <= path.stat().st_size


@OPTIONS
@hypothesis.given(
    st.dictionaries(st.text(max_size=4), JSON | st.sampled_from(["../x", "/etc/passwd", "s"]), max_size=4) | JSON
)
def test_safetensors_indices(weight_map):
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
        (Path(place) / "s").write_bytes(b"\x02" + bytes(7) + b"{}")
        answered(Checkpoint, Path(place))


@OPTIONS
@hypothesis.given(st.data())
def test_flipped_bits_in_a_checkpoint(data):
    import torch

    with tempfile.TemporaryDirectory() as place:
        write_checkpoint(Path(place), {"a": torch.zeros(3), "b": torch.ones(2, 2)})
        path = Path(place) / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        answered(read_header, path)


@OPTIONS
@hypothesis.given(st.data())
def test_run_records(record, data):
    """One field anywhere in a record without a digest is replaced, or the text is cut or flipped."""
    changed = json.loads(json.dumps(record))
    place = changed
    while isinstance(place, dict) and place and data.draw(st.booleans(), label="deeper"):
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key]:
            place = place[key]
        else:
            break
    if isinstance(place, dict) and place:
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        (run / "items.csv").write_text("subject,benchmark,metric,item,value\n")
        text = json.dumps(changed)
        cut = data.draw(st.integers(0, len(text)) | st.just(len(text)))
        (run / "run.json").write_text(text[:cut])
        answered(open_finished, run)
        answered(lambda: begin_run(run, stage="evaluate", config={"seed": 0}))
        assert sorted(path.name for path in run.iterdir()) == ["items.csv", "run.json"]
        assert [path.name for path in Path(folder).iterdir()] == ["run"]
