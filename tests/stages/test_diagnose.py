"""Files of one study that name layers join on them."""

import json

import pandas as pd
import pytest

from src.stages.diagnose import diagnose
from src.stages.job import compose_job
from src.stages.merge.run import merge
from tests.stages.conftest import train_tiny


@pytest.fixture(scope="module")
def layers_by_file(world, tmp_path_factory):
    """L2 of the update by layer: of a merge in `run.json`, of a training run in `metrics.jsonl`, of both in a CSV."""
    root = tmp_path_factory.mktemp("joined")
    places = [f"output_root={world}"]
    merged = merge(compose_job("merge", ["merge=ties", "merge.weight=0.4", f"output={root}/merged", *places]))
    callbacks = ["callbacks=[default,weight_delta]", "callbacks.weight_delta.every_steps=30"]
    mixture = train_tiny(world, "joined-mix", "strategy=mix", *callbacks)
    variants = [f"variants.merged={merged}", f"variants.mixture={mixture}"]
    table = pd.read_csv(
        diagnose(compose_job("diagnose", [f"output={root}/diagnosis", *variants, *places])) / "layers.csv"
    )
    whole = table[table["kind"] == "all"].set_index(["variant", "layer"])["l2"]
    strength = json.loads((merged / "run.json").read_text())["results"]["strength"]
    lines = [json.loads(line) for line in (mixture / "metrics.jsonl").read_text().splitlines()]
    prefix = "weights/l2/"
    measured = {name: value for line in lines for name, value in line.items() if name.startswith(prefix)}
    return {
        "merge strength": {entry["layer"]: entry["merged"] for entry in strength},
        "diagnosis of the merge": whole["merged"].to_dict(),
        "training metrics": {name.removeprefix(prefix): value for name, value in measured.items()},
        "diagnosis of the mixture": whole["mixture"].to_dict(),
    }


def test_every_file_names_the_layers_alike(layers_by_file):
    names = ["embed_tokens", "layers.0", "layers.1", "norm"]
    for file, layers in layers_by_file.items():
        assert [layer for layer in layers if layer != "all"] == names, file


@pytest.mark.parametrize(
    ("one", "other"), [("merge strength", "diagnosis of the merge"), ("training metrics", "diagnosis of the mixture")]
)
def test_a_layer_has_one_value(layers_by_file, one, other):
    for layer, value in layers_by_file[one].items():
        assert value > 0
        assert layers_by_file[other][layer] == pytest.approx(value, rel=1e-4), layer
