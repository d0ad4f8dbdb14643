"""Chat template, special tokens and generation config: the specialists' own where they agree, else as the keys say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from src.merging.engine.side_files import write_side_files
from src.utils.errors import UserError
from tests.merging.tools import recipe


def parent(directory: Path, template: str | None = None, eos: str = "<end>", **generation: Any) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"eos_token_id": len(eos)}))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": eos}}))
    if template:
        (directory / "chat_template.jinja").write_text(template)
    if generation:
        (directory / "generation_config.json").write_text(json.dumps(generation | {"transformers_version": eos}))
    return directory


def written(directory: Path, base: Path, specialists: Mapping[str, Path], **keys: Any) -> dict[str, str]:
    write_side_files(directory, base, specialists, recipe("linear", **keys))
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_specialists_that_agree(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", "base's", eos="<base>", top_k=1)
    pair = {name: parent(tmp_path / name, "chat", temperature=0.5) for name in ("codegen", "codesum")}
    files = written(tmp_path / "out", base, pair)
    assert files["chat_template.jinja"] == "chat"
    assert json.loads(files["generation_config.json"])["temperature"] == 0.5
    assert json.loads(files["config.json"])["eos_token_id"] == 5


def test_the_order_decides_nothing_where_only_one_has_them(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", top_k=1)
    pair = {"codegen": parent(tmp_path / "codegen", None), "codesum": parent(tmp_path / "codesum", "chat", top_k=9)}
    (pair["codegen"] / "tokenizer.json").unlink()
    (pair["codegen"] / "tokenizer_config.json").unlink()
    turned = dict(reversed(pair.items()))
    assert written(tmp_path / "one", base, pair) == written(tmp_path / "two", base, turned)
    assert (tmp_path / "one" / "chat_template.jinja").read_text() == "chat"


def test_an_adapter_says_nothing_about_the_config(tmp_path: Path) -> None:
    """It has no config.json; the checkpoints beside it are compared with each other nevertheless."""
    base = parent(tmp_path / "base", "base's", eos="<base>")
    found = {name: parent(tmp_path / name, "chat") for name in ("adapter", "codegen", "codesum")}
    (found["adapter"] / "config.json").unlink()
    assert written(tmp_path / "out", base, found)["chat_template.jinja"] == "chat"
    (found["codesum"] / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    with pytest.raises(
        UserError, match=r"\(codesum\) differ from those of codegen: eos_token_id of config.json is 5 in"
    ):
        written(tmp_path / "other", base, found)


@pytest.mark.parametrize(
    ("other", "key", "words"),
    [
        ({"template": "other"}, "template", 'chat templates of .*: default is "chat" in codegen, "other" here'),
        ({"eos": "<stop>"}, "template", 'special tokens of .*: eos_token is "<end>" in codegen, "<stop>" here'),
        ({"top_k": 9}, "generation_config", "generation configs of .*: top_k is 1 in codegen, 9 here"),
    ],
)
def test_specialists_that_differ(tmp_path: Path, other: dict[str, Any], key: str, words: str) -> None:
    base = parent(tmp_path / "base", "base's", top_k=5)
    common = {"template": "chat", "top_k": 1}
    pair = {
        "codegen": parent(tmp_path / "codegen", **common),
        "codesum": parent(tmp_path / "codesum", **(common | other)),
    }
    with pytest.raises(UserError, match=rf"{words}.*; set merge\.{key}=base, codegen, codesum"):
        written(tmp_path / "out", base, pair)
    found = {who: written(tmp_path / f"by-{who}", base, pair, **{key: who}) for who in ("base", "codegen", "codesum")}
    if key == "generation_config":
        assert [json.loads(one["generation_config.json"])["top_k"] for one in found.values()] == [5, 1, 9]
    else:
        expected = ["base's", "chat", other.get("template", "chat")]
        assert [one["chat_template.jinja"] for one in found.values()] == expected
        assert json.loads(found["codesum"]["tokenizer_config.json"])["eos_token"]["content"] == other.get(
            "eos", "<end>"
        )


def test_a_file(tmp_path: Path) -> None:
    base = parent(tmp_path / "base")
    pair = {name: parent(tmp_path / name, name, top_k=len(name)) for name in ("a", "bc")}
    (pair["a"] / "tokenizer_config.json").write_text('{"eos_token": "<end>", "chat_template": "old"}')
    (tmp_path / "mine.jinja").write_text("mine")
    (tmp_path / "mine.json").write_text('{"top_k": 7}')
    keys = {"template": str(tmp_path / "mine.jinja"), "generation_config": str(tmp_path / "mine.json")}
    files = written(tmp_path / "out", base, pair, **keys)
    assert files["chat_template.jinja"] == "mine"
    assert files["tokenizer_config.json"].split() == ["{", '"eos_token":', '"<end>"', "}"]
    assert json.loads(files["generation_config.json"]) == {"top_k": 7}
    with pytest.raises(UserError, match=r"merge\.template=nobody: expected base, a, bc or a file"):
        written(tmp_path / "no", base, pair, template="nobody")


def test_by_token_the_files_are_the_bases(tmp_path: Path) -> None:
    from src.merging.engine.chat_files import choose_chat_files

    base = parent(tmp_path / "base", "base's", top_k=1)
    pair = {name: parent(tmp_path / name, name, eos=name, top_k=len(name)) for name in ("a", "bc")}
    chosen = choose_chat_files(base, pair, recipe("linear", tokenizer="union"))
    assert (chosen.source, chosen.template, chosen.generation) == (base, None, None)
    chosen = choose_chat_files(base, pair, recipe("linear", tokenizer="union", template="bc", generation_config="a"))
    assert chosen.source == base
    assert chosen.template == (pair["bc"] / "chat_template.jinja").read_text()
    assert chosen.generation == pair["a"] / "generation_config.json"


def test_a_template_as_text(tmp_path: Path) -> None:
    base = parent(tmp_path / "base")
    pair = {name: parent(tmp_path / name, name) for name in ("codegen", "codesum")}
    assert written(tmp_path / "out", base, pair, template="{{ text }}")["chat_template.jinja"] == "{{ text }}"
