"""The YAML beside a merge says what was merged, or there is none and the record says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from src.checkpoints import TensorInfo
from src.merging.mergekit_yaml.counterparts import BY_OUR_NAME
from src.merging.mergekit_yaml.parents import parents_of
from src.merging.mergekit_yaml.read import read_recipe
from src.merging.mergekit_yaml.translate import translate
from src.merging.mergekit_yaml.write import mergekit_yaml, write_mergekit_config
from src.utils.errors import UserError
from tests.merging.mergekit_yaml.test_read import NAMES
from tests.merging.tools import recipe

BASE = Path("/models/base")
PLACES = {"codegen": Path("/models/code"), "codesum": Path("/models/summary")}
SETTINGS: dict[str, dict[str, Any]] = {
    "slerp": {"space": "weights", "weight": 0.3},
    "karcher": {"space": "weights", "weight": None},
    "sce": {"equal_below": 1e-6, "select": 0.3},
    "model_stock": {"by_row": True},
    "della": {"weight": 0.3, "density": 0.4, "epsilon": 0.2, "lambda_": 1.5, "normalize": False, "rescale": "none"},
}


def written(name: str, /, **keys: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        mergekit_yaml(recipe(name, **keys).describe(list(PLACES)), BASE, PLACES, "bfloat16")
    )
    return found


def read_again(content: dict[str, Any]) -> dict[str, Any]:
    """The merge that is read from what was written, with its specialists' names here."""
    read = read_recipe(yaml.safe_dump(content))
    parents = parents_of(read)
    assert list(parents.places.values()) == [str(place) for place in PLACES.values()]
    if content["merge_method"] not in ("linear", "karcher", "slerp"):
        assert parents.base.path == str(BASE)
    found = translate(read, NAMES)
    return recipe(found.method, **found.keys).describe(list(parents.specialists))


@pytest.mark.parametrize("name", sorted(BY_OUR_NAME))
def test_what_is_written_is_read_as_the_same_merge(name: str) -> None:
    keys = SETTINGS.get(name, {"weights": {"codegen": 0.3, "codesum": 0.6}})
    point = recipe(name, **keys)
    again = read_again(written(name, **keys))
    described = point.describe(list(PLACES))
    assert list(again.pop("weights").values()) == pytest.approx(list(described.pop("weights").values()))
    files = {"dtype": "bfloat16", "template": "base", "generation_config": "base"}  # these are mergekit's
    random = {"seed": 0} if "seed" in described else {}
    assert again == described | files | random


def test_a_merge_by_hand() -> None:
    assert written("ties", weight=0.3, density=0.2) == {
        "merge_method": "ties",
        "base_model": "/models/base",
        "models": [
            {"model": "/models/code", "parameters": {"weight": 0.3}},
            {"model": "/models/summary", "parameters": {"weight": 0.7}},
        ],
        "parameters": {"density": 0.2, "normalize": True, "rescale": False, "lambda": 1.0},
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    assert written("slerp", space="weights", weight=0.25)["parameters"] == {"t": 0.75}
    assert written("slerp", space="weights", weight=0.25)["base_model"] == "/models/code"


def test_methods_of_mergekit_alone_are_written_as_they_are_passed_on() -> None:
    content = written("mergekit", name="nearswap", parameters={"t": 0.01})
    assert (content["base_model"], content["parameters"]) == ("/models/code", {"t": 0.01})
    assert [one.get("parameters") for one in content["models"]] == [None, None]
    assert "dtype" not in content  # mergekit's arithmetic is in the stored dtype here too
    content = written("mergekit", name="multislerp", weight=0.3)
    assert (content["base_model"], "parameters" in content) == ("/models/base", False)
    assert content["models"][1]["parameters"] == {"weight": 0.7}
    assert written("mergekit", name="slerp", weight=0.25)["parameters"] == {"t": 0.75}


def test_schedules_become_filters_and_lists() -> None:
    weights = {"codegen": [0.2, 0.8], "codesum": {"q_proj|up_proj": 0.1, "default": [0, 1]}}
    content = written("ties", weights=weights, density={"codegen": 0.5, "codesum": {"mlp": 0.2, "default": 0.9}})
    first, second = (one["parameters"] for one in content["models"])
    assert first == {"weight": [0.2, 0.8], "density": 0.5}
    assert second["weight"] == [
        {"filter": "q_proj", "value": 0.1}, {"filter": "up_proj", "value": 0.1}, {"value": [0.0, 1.0]}
    ]  # fmt: skip
    assert second["density"] == [{"filter": "mlp", "value": 0.2}, {"value": 0.9}]
    assert read_again(content)["density"]["summary"] == [{"mlp": 0.2}, {"default": 0.9}]
    t = written("slerp", space="weights", weight=[{"mlp": [0.2, 0.8]}, {"default": 1.0}])["parameters"]["t"]
    assert t == [{"filter": "mlp", "value": [0.8, pytest.approx(0.2)]}, {"value": 0.0}]


def test_excluded_tensors_have_the_coefficient_zero() -> None:
    [code, _] = written("ties", weight=0.3, exclude="embed_tokens|lm_head")["models"]
    assert code["parameters"]["weight"] == [
        {"filter": "embed_tokens", "value": 0.0},
        {"filter": "lm_head", "value": 0.0},
        {"value": 0.3},
    ]


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("tsv", {}, "mergekit has no tsv"),
        ("ties", {"trim": "model"}, "no merge.trim=model"),
        ("ties", {"rescale": "density"}, "no merge.rescale=density"),
        ("ties", {"match_norm": True}, "no merge.match_norm"),
        ("ties", {"tokenizer": "union"}, "merge.tokenizer=union"),
        ("ties", {"exclude": "layers.0"}, "no merge.exclude=layers.0"),
        (
            "ties",
            {"density": {"layers.[12]": 0.3, "default": 1}},
            "not the regular expression layers.*of merge.density",
        ),
        ("slerp", {"space": "weights", "weights": {"codegen": [0, 1], "codesum": 1}}, "coefficients that sum to 1"),
        ("linear", {"exclude": "embed_tokens"}, "no merge.exclude=embed_tokens"),
        ("slerp", {}, "no merge.space=deltas"),
        ("slerp", {"engine": "mergekit", "space": "weights"}, "runs slerp as nuslerp"),
        ("karcher", {"space": "weights", "weight": 0.3}, "karcher has no coefficients"),
        ("sce", {}, "no merge.equal_below=0.0"),
    ],
)
def test_what_mergekit_cannot_do(name: str, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        written(name, **keys)


def test_the_reason_is_returned_and_no_file_left(tmp_path: Path) -> None:
    table = {"x": TensorInfo((2,), torch.bfloat16), "n": TensorInfo((2,), torch.int64)}
    assert write_mergekit_config(tmp_path, recipe("tsv"), BASE, PLACES, table) == "not written: mergekit has no tsv"
    mixed = table | {"y": TensorInfo((2,), torch.float32)}
    found = write_mergekit_config(tmp_path, recipe("ties"), BASE, PLACES, mixed)
    assert found == "not written: mergekit writes one dtype, the merge has bfloat16, float32"
    assert list(tmp_path.iterdir()) == []
    assert write_mergekit_config(tmp_path, recipe("dare"), BASE, PLACES, table) == "written"
    assert (tmp_path / "mergekit_config.yml").read_text().startswith("# mergekit draws other masks")


def test_models_by_their_name_on_the_hub_and_odd_paths(tmp_path: Path) -> None:
    commit = "c" * 40
    snapshot = Path(f"/cache/hub/models--org--coder-7b/snapshots/{commit}")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    places = {"codegen": Path("/a+b/c"), "codesum": adapter}
    text = mergekit_yaml(recipe("ties").describe(list(places)), snapshot, places, "float32")
    found = yaml.safe_load(text)
    assert found["base_model"] == f"org/coder-7b@{commit}"
    odd, lora = (one["model"] for one in found["models"])
    assert (odd, lora) == ({"model": {"path": "/a+b/c"}}, f"org/coder-7b@{commit}+{adapter}")
    assert list(parents_of(read_recipe(text)).places.values()) == ["/a+b/c", str(adapter)]
