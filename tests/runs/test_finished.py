import json
import shutil

import pytest

from src.runs.finished import open_finished
from src.runs.record import open_run
from src.utils.errors import UserError


@pytest.fixture
def place(tmp_path):
    with open_run(tmp_path / "one", stage="train", config={}, argv=["python", "train.py", "strategy=mix"]) as run:
        (run.work / "model.safetensors").write_bytes(b"weights")
        (run.work / "metrics.jsonl").write_text("{}")
        (run.work / "README.md").write_text("model card")
        run.results["steps"] = 3
    return tmp_path / "one"


def hashes(place, *names):
    return open_finished(place).hashes(names)


def test_a_record_becomes_an_object(place):
    run = open_finished(place)
    assert (run.directory, run.stage, run.results, run.argv) == (place, "train", {"steps": 3}, run.argv)
    assert run.argv == ["python", "train.py", "strategy=mix"]
    assert set(run.outputs) == {"model.safetensors", "metrics.jsonl", "README.md"}
    assert run.cost["bytes"] > 0


def test_directories_of_others_hold_no_run(tmp_path):
    assert open_finished(tmp_path) is None
    (tmp_path / "run.json").write_text('{"state": "running"}')
    assert open_finished(tmp_path) is None
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(UserError, match=r"run\.json is corrupt"):
        open_finished(tmp_path)


def test_files_that_the_run_wrote_have_its_hashes_wherever_they_lie(place, tmp_path):
    assert hashes(place, "model.safetensors") == {
        "model.safetensors": open_finished(place).outputs["model.safetensors"].sha256
    }
    shutil.copytree(place, tmp_path / "copy")  # other times and inodes
    assert hashes(tmp_path / "copy", "model.safetensors") == hashes(place, "model.safetensors")


def test_a_page_for_people_may_change(place):
    (place / "README.md").write_text("notes")
    assert list(hashes(place, "model.safetensors")) == ["model.safetensors"]


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda place: (place / "model.safetensors").write_bytes(b"WEIGHTS"), "model.safetensors", "has changed"),
        (lambda place: (place / "model.safetensors").unlink(), "model.safetensors", "is missing"),
        (lambda place: (place / "chat_template.jinja").touch(), "chat_template.jinja", "was added"),
    ],
)
def test_another_file_is_refused_by_name(place, change, name, words):
    change(place)
    with pytest.raises(UserError, match=rf"{place} .*{name} {words}.*python train\.py strategy=mix"):
        hashes(place, "model.safetensors", name)


@pytest.mark.parametrize(
    "changed",
    [{"outputs": {"model.safetensors": "0" * 64}}, {"outputs": None}, {"outputs": {"a": {"sha256": "0"}}}, {"cost": 0}],
)
def test_a_record_of_another_form_is_refused_by_name(place, changed):
    record = json.loads((place / "run.json").read_text())
    if "cost" in changed:
        del record["cost"]
    (place / "run.json").write_text(json.dumps(record | {k: v for k, v in changed.items() if k != "cost"}))
    with pytest.raises(UserError, match=r"one/run\.json is damaged or was written by another version"):
        open_finished(place)
