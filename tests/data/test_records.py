from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from src.data.records import find_data
from src.utils.errors import UserError

ROWS = [{"q": "one", "a": "1"}, {"q": "two", "a": "2"}]


def write(path: Path) -> None:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
        return
    lines = "jsonl" in path.name
    text = "\n".join(map(json.dumps, ROWS)) if lines else json.dumps(ROWS)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.json.gz", "x.parquet"])
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    records = list(find_data([str(tmp_path / name)], "train", "key").records())
    assert [record.fields for record in records] == ROWS
    assert records[1].place == f"{tmp_path / name}, row 2"


def test_the_size_is_known_if_it_needs_no_reading(tmp_path: Path) -> None:
    for name in ("x.jsonl", "x.parquet", "x.jsonl.gz", "x.json"):
        write(tmp_path / name)
    (tmp_path / "y.jsonl").write_text('{"q": "three"}\n' * 3)
    sizes = {name: find_data([str(tmp_path / name)], "train", "key").size() for name in ("x.parquet", "x.json", "x.j*")}
    assert sizes == {"x.parquet": 2, "x.json": None, "x.j*": None}
    assert find_data([str(tmp_path / "y.jsonl")], "train", "key").size() == 3
    assert find_data(["owner/name"], "train", "key").size() is None


def test_the_first_place_that_is_there(tmp_path: Path) -> None:
    for name in ("b_train.jsonl", "b_train_2.jsonl", "b_test.jsonl"):
        write(tmp_path / name)
    places = [f"{tmp_path}/a_{{split}}*.jsonl", f"{tmp_path}/b_{{split}}*.jsonl", "owner/name:config"]
    found = find_data(places, "train", "key")
    assert [path.name for path in found.files] == ["b_train.jsonl", "b_train_2.jsonl"]
    assert len(list(found.records())) == 4
    assert find_data(places, "validation", "key").name == "owner/name:config"
    with pytest.raises(UserError, match=r"sources: no such file: .*a_validation\*.jsonl, .*; put the data there"):
        find_data(places[:2], "validation", "sources")


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl")
    write(tmp_path / "y.jsonl")
    x, y = (find_data([str(tmp_path / name)], "train", "key") for name in ("x.jsonl", "y.jsonl"))
    assert x.fingerprint() == y.fingerprint()
    (tmp_path / "y.jsonl").write_text('{"q": "three"}')
    assert x.fingerprint() != y.fingerprint()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", "", r"x.jsonl holds no rows"),
        ("x.jsonl", '{"a": 1}\n{"a": ', r"x.jsonl, line 2: not JSON"),
        ("x.json", "[", r"x.json is not JSON"),
        ("x.json", '{"a": 1}', r"x.json: expected a list of objects, got dict"),
        ("x.json", '[{"a": 1}, 7]', r"x.json, row 2: expected an object with fields, got int"),
        ("x.parquet", "no", r"x.parquet is not a Parquet file"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        list(find_data([str(tmp_path / name)], "train", "key").records())


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(owner: str, config: str | None, split: str, **more: Any) -> list[dict[str, str]]:
        asked.append((owner, config, split, *more.values()))
        if owner == "org/absent":
            raise ConnectionError("Couldn't reach the Hub")
        return ROWS

    monkeypatch.setattr("datasets.load_dataset", load)
    records = list(find_data(["org/name:python"], "validation", "key").records())
    assert asked == [("org/name", "python", "validation", None, False)]
    assert records[0].place == "org/name:python (validation), row 1"
    with pytest.raises(UserError, match=r"org/absent .* \(Couldn't.*hf download --repo-type dataset org/abs"):
        list(find_data(["org/absent"], "train", "key").records())
    with pytest.raises(UserError, match=r"hf download --repo-type dataset org/absent --revision v1 --local-dir"):
        list(find_data(["org/absent@v1"], "train", "key").records())
    asked.clear()
    pinned = find_data(["org/name:python@refs/pr/1"], "train", "key", streaming=True)
    assert len(list(pinned.records())) == len(ROWS)
    assert asked == [("org/name", "python", "train", "refs/pr/1", True)]
    assert pinned.fingerprint() != find_data(["org/name:python"], "train", "key").fingerprint()
