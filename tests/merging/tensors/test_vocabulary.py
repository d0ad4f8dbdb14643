"""Parents with other paddings, other token orders and other tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.checkpoints.model_class import rows_are_tokens
from src.merging.backend.torch_ops import TorchOps
from src.merging.engine import grid
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToDirectory
from src.merging.engine.side_files import write_side_files
from src.merging.tensors.parent import open_parents
from src.merging.tensors.reading import open_tensor
from src.utils.errors import UserError
from tests.merging.tools import Tensors, identical, merge_all, recipe

WIDTH = 8
BASE_TOKENS = ["a", "b", "c", "d"]


def tokenizer(tokens: list[str], added: list[str], merges: list[list[str]] | None = None) -> dict[str, Any]:
    extra = [{"id": len(tokens) + i, "content": token, "special": True} for i, token in enumerate(added)]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return {"model": {"type": "BPE", "vocab": vocabulary, "merges": merges or []}, "added_tokens": extra}


def parent(directory: Path, tokens: list[str], rows: int, seed: int, added: list[str] | None = None) -> Path:
    """A model whose embedding row of token t is filled with a number of t and `seed`; padding rows hold 99."""
    every = tokens + (added or [])
    embedding = torch.full((rows, WIDTH), 99.0)
    for place, token in enumerate(every):
        embedding[place] = ord(token[0]) / 100 + seed / 1000
    tensors = {"model.embed_tokens.weight": embedding, "model.layers.0.w.weight": torch.full((4, 4), 1 + seed / 1000)}
    write_checkpoint(directory, tensors | {"lm_head.weight": embedding * 2})
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer(tokens, added or [])))
    (directory / "config.json").write_text(json.dumps({"vocab_size": rows, "seed": seed}))
    return directory


def value(token: str, seed: float) -> float:
    return ord(token[0]) / 100 + seed / 1000


def merged(tmp_path: Path, base: Path, specialists: dict[str, Path], mode: str) -> Tensors:
    one = recipe("linear", tokenizer=mode)
    [found], _ = merge_all(*open_parents(base, specialists), [one])
    [small], _ = merge_all(*open_parents(base, specialists), [one], ops=TorchOps(block=1 << 12))
    assert all(torch.equal(found[name], small[name]) for name in found)
    directory = tmp_path / f"out-{mode}"
    [outcome] = merge_grid(*open_parents(base, specialists), [MergeRequest(one, ToDirectory(directory))])
    assert outcome.error is None
    write_side_files(directory, base, specialists, one)
    assert json.loads((directory / "config.json").read_text())["vocab_size"] == len(found["lm_head.weight"])
    return found


def test_shared_rows(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {
        "codegen": parent(tmp_path / "codegen", BASE_TOKENS, 5, 10),
        "codesum": parent(tmp_path / "codesum", BASE_TOKENS, 8, 20),
    }
    with pytest.raises(
        UserError, match=r"shape \[5, 8\], expected \[6, 8\].*; set merge.tokenizer=shared to merge the rows"
    ):
        merged(tmp_path, base, specialists, "equal")
    found = merged(tmp_path, base, specialists, "shared")
    rows = found["model.embed_tokens.weight"]
    assert rows.shape == (6, WIDTH)
    assert rows[:, 0].tolist() == pytest.approx([value(t, 15) for t in BASE_TOKENS] + [99, 99])
    assert torch.allclose(found["lm_head.weight"], rows * 2)
    assert found["model.layers.0.w.weight"][0, 0] == pytest.approx(1.015)


def test_shared_rows_need_equal_tokens(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    other = {"codegen": parent(tmp_path / "codegen", ["a", "c", "b", "d"], 5, 10)}
    with pytest.raises(UserError, match=r"codegen has different tokens: 'b' is 1 in the base, 2 here"):
        merged(tmp_path, base, other, "shared")


def test_tokens_of_the_base(tmp_path: Path) -> None:
    """Rows are found by token; a specialist has no say on a token that it lacks."""
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {
        "codegen": parent(tmp_path / "codegen", ["d", "c", "b", "a", "x"], 5, 10),
        "codesum": parent(tmp_path / "codesum", ["a", "b", "c"], 4, 20),
    }
    with pytest.raises(UserError, match=r"merge\.tokenizer=union or base to merge by token|does not match"):
        merged(tmp_path, base, specialists, "equal")
    rows = merged(tmp_path, base, specialists, "base")["model.embed_tokens.weight"][:, 0].tolist()
    assert rows == pytest.approx([value(t, 15) for t in "abc"] + [value("d", 10), 99, 99])
    written = json.loads((tmp_path / "out-base" / "tokenizer.json").read_text())
    assert written["model"]["vocab"] == {token: i for i, token in enumerate(BASE_TOKENS)}


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_no_say_on_a_token_that_is_lacking(tmp_path: Path, method: str) -> None:
    """Of three with 0.2, 0.3, 0.5 the last lacks d: the others share it 2 to 3. None has c: it is the base's."""
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    places = {
        "codegen": parent(tmp_path / "codegen", ["d", "b", "a"], 3, 10),
        "codesum": parent(tmp_path / "codesum", ["a", "b", "x", "d"], 4, 20),
        "bugfix": parent(tmp_path / "bugfix", ["b", "a"], 2, 30),
    }
    weights = dict(zip(places, (0.2, 0.3, 0.5), strict=True))
    points = [recipe(method, tokenizer="base", weights=weights), recipe(method, tokenizer="base", weight=1.0)]
    [found, alone], _ = merge_all(*open_parents(base, places), points)
    expected = [value("a", 23), value("b", 23), value("c", 0), value("d", 16), 99, 99]
    assert found["model.embed_tokens.weight"][:, 0].tolist() == pytest.approx(expected)
    expected = [value("a", 10), value("b", 10), value("c", 0), value("d", 10), 99, 99]
    assert alone["model.embed_tokens.weight"][:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["base", "union"])
def test_a_sweep_of_three_is_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Only tensors of the vocabulary are opened once per coefficients; all points are as they are alone."""
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    places = {
        "codegen": parent(tmp_path / "codegen", ["d", "b", "a"], 3, 10),
        "codesum": parent(tmp_path / "codesum", ["a", "b", "x", "d"], 4, 20),
        "bugfix": parent(tmp_path / "bugfix", ["b", "a"], 2, 30),
    }
    methods = ("linear", "ties", "task_arithmetic")
    points = [recipe(name, tokenizer=mode, weight=weight) for weight in (0.2, 0.5) for name in methods]
    alone = [merge_all(*open_parents(base, places), [point])[0][0] for point in points]
    opened: list[str] = []

    def counted(name: str, *arguments: Any) -> Any:
        opened.append(name)
        return open_tensor(name, *arguments)

    monkeypatch.setattr(grid, "open_tensor", counted)
    together, _ = merge_all(*open_parents(base, places), points)
    assert [identical(one, other) for one, other in zip(together, alone, strict=True)] == [True] * len(points)
    assert sorted(opened) == sorted(2 * ["lm_head.weight", "model.embed_tokens.weight"] + ["model.layers.0.w.weight"])


@pytest.mark.parametrize(
    ("model", "keys", "tall"),
    [
        ("GPTNeoX", {}, {"gpt_neox.embed_in.weight", "lm_head.weight"}),
        ("GPT2", {"n_embd": 16, "n_head": 2, "n_layer": 1}, {"transformer.wte.weight", "lm_head.weight"}),
        ("Qwen2", {"num_key_value_heads": 1}, {"model.embed_tokens.weight", "lm_head.weight"}),
    ],
)
def test_the_class_says_which_rows_are_tokens(model: str, keys: dict[str, Any], tall: set[str]) -> None:
    import transformers

    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = getattr(transformers, f"{model}Config")(**(small | {"vocab_size": 24} | keys))  # as tall as the MLP
    config.architectures = [f"{model}LMHeadModel" if model == "GPT2" else f"{model}ForCausalLM"]
    with torch.device("meta"):
        names = list(getattr(transformers, config.architectures[0])(config).state_dict())
    found = rows_are_tokens(config.to_dict(), names)
    assert found.keys() == set(names)
    assert {name for name in names if found[name]} == tall


def test_the_embeddings_of_gpt_neox_are_permuted_together(tmp_path: Path) -> None:
    """Under the names of its files, `embed_in` and `embed_out`."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=4, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "base")
    stored = Checkpoint(tmp_path / "base")
    tensors = {name: stored.tensor(name) for name in stored.names}
    assert {"gpt_neox.embed_in.weight", "embed_out.weight"} <= tensors.keys()
    order = [2, 0, 3, 1]
    for label, turn in (("base", [0, 1, 2, 3]), ("codegen", order)):
        rows = {name: tensors[name][turn] for name in ("gpt_neox.embed_in.weight", "embed_out.weight")}
        write_checkpoint(tmp_path / label, tensors | rows)
        tokens = [BASE_TOKENS[place] for place in turn]
        (tmp_path / label / "tokenizer.json").write_text(json.dumps(tokenizer(tokens, [])))
        (tmp_path / label / "config.json").write_text(
            json.dumps(config.to_dict() | {"architectures": ["GPTNeoXForCausalLM"]})
        )
    one = recipe("linear", tokenizer="base", weight=1.0)
    [found], _ = merge_all(*open_parents(tmp_path / "base", {"codegen": tmp_path / "codegen"}), [one])
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_an_unknown_class_with_a_tensor_as_tall_as_the_embedding(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    other = parent(tmp_path / "codegen", BASE_TOKENS, 6, 10)
    for place in (base, other):
        tensors = {name: Checkpoint(place).tensor(name) for name in Checkpoint(place).names}
        write_checkpoint(place, tensors | {"model.embed_in.weight": torch.ones(6, 8)})
    with pytest.raises(
        UserError,
        match=r"class is unknown here or lacks tensors.*: model\.embed_in\.weight; set merge\.tokenizer=equal",
    ):
        merge_all(*open_parents(base, {"codegen": other}), [recipe("linear", tokenizer="base")])


def test_union_of_tokens(tmp_path: Path) -> None:
    """New tokens follow the base's highest id, in padding rows first; their base row is the mean of others' rows."""
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0, added=["<end>"])
    specialists = {
        "codegen": parent(tmp_path / "codegen", BASE_TOKENS, 6, 10, added=["<end>", "x"]),
        "codesum": parent(tmp_path / "codesum", [*BASE_TOKENS, "y"], 7, 20, added=["x", "<end>"]),
    }
    rows = merged(tmp_path, base, specialists, "union")["model.embed_tokens.weight"]
    assert rows.shape == (7, WIDTH)
    expected = [value(t, 15) for t in [*BASE_TOKENS, "<end>", "x"]] + [value("y", 20)]
    assert rows[:, 0].tolist() == pytest.approx(expected)
    written = json.loads((tmp_path / "out-union" / "tokenizer.json").read_text())
    assert written["model"]["vocab"]["y"] == 6
    assert [(token["content"], token["id"]) for token in written["added_tokens"]] == [("<end>", 4), ("x", 5)]


def test_union_without_new_tokens_is_base(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {"codegen": parent(tmp_path / "codegen", ["b", "a"], 2, 10)}
    union = merged(tmp_path, base, specialists, "union")
    plain = merged(tmp_path, base, specialists, "base")
    assert all(torch.equal(union[name], plain[name]) for name in plain)


def test_real_tokenizers_unite(tmp_path: Path) -> None:
    """A base and a specialist trained on other text: the union cuts the base's text as before, and knows the rest."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    def trained(path: Path, text: str, special: list[str]) -> Tokenizer:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            [text], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=special)
        )
        rows = torch.zeros(made.get_vocab_size(), WIDTH) + torch.arange(made.get_vocab_size())[:, None]
        write_checkpoint(path, {"model.embed_tokens.weight": rows, "model.layers.0.w.weight": torch.ones(3, 3)})
        made.save(str(path / "tokenizer.json"))
        return made

    ours = trained(tmp_path / "base", "def merge weights weights weights merge merge" * 9, ["<end>"])
    theirs = trained(tmp_path / "codegen", "select table table select where where" * 9, ["<end>", "<tool>"])
    directory = tmp_path / "out"
    specialists = {"codegen": tmp_path / "codegen"}
    one = recipe("linear", tokenizer="union", weight=1.0)
    [outcome] = merge_grid(*open_parents(tmp_path / "base", specialists), [MergeRequest(one, ToDirectory(directory))])
    assert outcome.error is None
    write_side_files(directory, tmp_path / "base", specialists, one)
    union = Tokenizer.from_file(str(directory / "tokenizer.json"))
    assert union.encode("def merge weights").ids == ours.encode("def merge weights").ids
    assert union.encode("<tool>").tokens == ["<tool>"]
    assert union.encode("select table").tokens == theirs.encode("select table").tokens
    rows = Checkpoint(directory).tensor("model.embed_tokens.weight")
    assert rows.shape[0] == union.get_vocab_size()
    for token in ("<tool>", *theirs.encode("select table").tokens):
        assert rows[union.token_to_id(token), 0] == theirs.token_to_id(token)  # the specialist alone, at full weight


@pytest.mark.parametrize("mode", ["shared", "base", "union"])
def test_nothing_to_match_by(tmp_path: Path, mode: str) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {"codegen": parent(tmp_path / "codegen", BASE_TOKENS, 6, 10)}
    (specialists["codegen"] / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"\(codegen\) has no tokenizer.json to match tokens by"):
        merged(tmp_path, base, specialists, mode)


def test_embeddings_too_short_for_their_tokens(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {"codegen": parent(tmp_path / "codegen", BASE_TOKENS, 4, 10)}
    (specialists["codegen"] / "tokenizer.json").write_text(json.dumps(tokenizer(BASE_TOKENS, ["<end>"])))
    with pytest.raises(UserError, match="has 4 rows, expected at least 5"):
        merged(tmp_path, base, specialists, "base")


def test_head_and_embedding_of_different_heights(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {"codegen": parent(tmp_path / "codegen", BASE_TOKENS, 6, 10)}
    tensors = {"model.embed_tokens.weight": torch.ones(6, WIDTH), "lm_head.weight": torch.ones(5, WIDTH)}
    write_checkpoint(base, tensors)
    with pytest.raises(UserError, match=r"expected one number of embedding rows, got \[5, 6\]"):
        merged(tmp_path, base, specialists, "base")


def test_a_vocabulary_that_cannot_grow(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {"codegen": parent(tmp_path / "codegen", [*BASE_TOKENS, "y"], 6, 10)}
    listed = {"model": {"type": "Unigram", "vocab": [[token, -1.0] for token in BASE_TOKENS]}, "added_tokens": []}
    (base / "tokenizer.json").write_text(json.dumps(listed))
    with pytest.raises(UserError, match=r"'y' belongs to a vocabulary that cannot grow; set merge.tokenizer=base"):
        merged(tmp_path, base, specialists, "union")


def test_unknown_mode() -> None:
    with pytest.raises(UserError, match=r"unknown merge\.tokenizer 'onion', did you mean 'union'"):
        recipe("linear", tokenizer="onion")


def test_side_files_are_those_of_the_fine_tuning(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    specialists = {label: parent(tmp_path / label, BASE_TOKENS, 6, 10) for label in ("codegen", "codesum")}
    (specialists["codegen"] / "chat_template.jinja").write_text("{{ messages }}")
    write_side_files(tmp_path / "out", base, specialists, recipe("linear", dtype="float32"))
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {
        "vocab_size": 6,
        "seed": 10,
        "dtype": "float32",
    }
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ messages }}"


def test_side_files_of_an_adapter_come_from_the_base(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", BASE_TOKENS, 6, 0)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter" / "chat_template.jinja").write_text("tuned")
    write_side_files(tmp_path / "out", base, {"codegen": tmp_path / "adapter"}, recipe("linear"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["seed"] == 0
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "tuned"
