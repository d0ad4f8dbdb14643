"""BERTScore: by hand, against the reference implementation bert-score, and its invariants, on tiny random encoders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import BertConfig, BertModel, BertTokenizerFast, RobertaConfig, RobertaModel, RobertaTokenizerFast

from src.evaluation.text.bertscore import BertScore, _load, matched_f1
from src.utils.errors import UserError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXT = "add one to x return the sum of two numbers nothing here . a b c"
WORDS = [*SPECIAL, *TEXT.split()]
PREDICTIONS = ["add one to x", "return the sum", "nothing here . a", "a b c a b", "add", "one zzz two"]
REFERENCES = ["add one to the x", "return the sum of two numbers", "add one", "c b a", "add", "two numbers zzz ."]
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("encoders") / "bert"
    place.mkdir()
    (place / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(place / "vocab.txt"), model_max_length=32).save_pretrained(place)
    torch.manual_seed(0)
    sizes = {**SMALL, "max_position_embeddings": 32, "initializer_range": 0.5}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("encoders") / "roberta"
    place.mkdir()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(PREDICTIONS + REFERENCES, vocab_size=300, min_frequency=1, special_tokens=special)
    trained.save_model(str(place))
    files = (str(place / "vocab.json"), str(place / "merges.txt"))
    RobertaTokenizerFast(*files, model_max_length=32, add_prefix_space=True).save_pretrained(place)
    torch.manual_seed(1)
    sizes = {**SMALL, "max_position_embeddings": 34, "initializer_range": 0.5}
    RobertaModel(RobertaConfig(vocab_size=trained.get_vocab_size(), type_vocab_size=1, **sizes)).save_pretrained(place)
    return place


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    _load.cache_clear()


def score(place: Path, predictions: list[str] = PREDICTIONS, references: list[str] = REFERENCES, **keys: Any) -> Any:
    return BertScore(model=str(place), **{"layer": 2, "device": "cpu", **keys})(predictions, references)


def test_by_hand() -> None:
    """Cosines of (1, 0), (0, 1) with (1, 0), (0.6, 0.8): 1 and 0.6, 0 and 0.8; the rows' and columns' largest count."""
    got, wanted = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 0.0]]])
    equal = matched_f1(got, torch.ones(1, 2), wanted, torch.tensor([[1.0, 1.0, 0.0]]))
    assert equal.tolist() == pytest.approx([0.9])  # (1 + 0.8) / 2 on both sides
    uneven = matched_f1(got, torch.tensor([[3.0, 1.0]]), wanted, torch.tensor([[1.0, 1.0, 0.0]]))
    assert uneven.tolist() == pytest.approx([2 * 0.95 * 0.9 / 1.85])  # precision (3 + 0.8) / 4
    assert matched_f1(got, torch.zeros(1, 2), wanted, torch.ones(1, 3)).tolist() == [0]
    away = torch.tensor([[[-1.0, 0.0], [0.0, 0.0]]])  # padding must not match with a cosine of 0
    assert matched_f1(away, torch.tensor([[1.0, 0.0]]), torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1)).tolist() == [-1]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize("idf", [False, True])
def test_equals_bert_score(kind: str, layer: int, idf: bool, request: pytest.FixtureRequest) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bert_score import BERTScorer
    place = request.getfixturevalue(kind)
    settings = {"model_type": str(place), "num_layers": layer, "device": "cpu", "nthreads": 0}
    theirs = BERTScorer(**settings, idf=idf, idf_sents=REFERENCES if idf else None)
    expected = theirs.score(PREDICTIONS, REFERENCES)[2].tolist()
    assert score(place, layer=layer, idf=idf) == pytest.approx(expected, abs=1e-5)


def test_first_words_are_words(roberta: Path) -> None:
    """Without a space before it, the first word would have other tokens than the same word inside a text."""
    found = score(roberta)
    files = (str(roberta / "vocab.json"), str(roberta / "merges.txt"))
    RobertaTokenizerFast(*files, model_max_length=32, add_prefix_space=False).save_pretrained(roberta)
    _load.cache_clear()
    assert score(roberta) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("idf", [False, True])
def test_invariants(idf: bool, bert: Path) -> None:
    found = score(bert, idf=idf)
    assert score(bert, idf=idf, batch_size=1) == pytest.approx(found, abs=1e-5)
    assert score(bert, PREDICTIONS[::-1], REFERENCES[::-1], idf=idf) == pytest.approx(found[::-1], abs=1e-5)
    assert score(bert, REFERENCES, REFERENCES, idf=idf) == pytest.approx([1] * 6, abs=1e-5)
    if not idf:
        assert score(bert, REFERENCES, PREDICTIONS) == pytest.approx(found, abs=1e-5)


def test_idf_weights(bert: Path) -> None:
    """`add` is in two of three references, so that it counts less: log(4/3) against log(4/2)."""
    references = ["add one", "add x", "b c"]
    plain, weighted = (score(bert, ["one a", "x a", "b c"], references, idf=idf) for idf in (False, True))
    assert plain != pytest.approx(weighted, abs=1e-4)
    same = ["a b", "a b"]  # no token tells the references apart: equal weights, not none
    assert score(bert, ["a b", "c"], same, idf=True)[0] == pytest.approx(1, abs=1e-5)


def test_empty_and_overlong_texts(bert: Path) -> None:
    assert score(bert, ["", "add", " \n"], ["add", "", ""]) == [0, 0, 0]
    assert len(score(bert, ["add one " * 100], ["one"])) == 1  # cut to the encoder's positions


def test_baseline(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "base.tsv").write_text("LAYER,P,R,F\n0,0.1,0.1,0.1\n2,0.2,0.3,0.5\n")
    plain, rescaled = score(bert), score(bert, baseline=str(tmp_path / "base.tsv"))
    assert rescaled == pytest.approx([(value - 0.5) / 0.5 for value in plain])
    with pytest.raises(UserError, match=r"benchmark\.bertscore\.baseline=.*layer 1"):
        score(bert, layer=1, baseline=str(tmp_path / "base.tsv"))


def test_identity_and_definition(bert: Path, roberta: Path) -> None:
    made = BertScore(model=str(bert), layer=2, idf=True)
    assert made.definition == "mean BERTScore F1 (bert, layer 2, idf of the references, not rescaled)"
    others = [BertScore(model=str(bert), layer=1, idf=True), BertScore(model=str(roberta), layer=2, idf=True)]
    assert made.identity() == BertScore(model=str(bert), layer=2, idf=True).identity()
    assert all(made.identity() != other.identity() for other in others)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"layer": 4}, r"benchmark\.bertscore\.layer=4: .* has layers 1 to 3"),
        ({"layer": None}, r"benchmark\.bertscore\.layer is missing"),
        ({"layer": -1}, r"benchmark\.bertscore\.layer must be at least 0"),
    ],
)
def test_layers(keys: dict[str, Any], message: str, bert: Path) -> None:
    with pytest.raises(UserError, match=message):
        score(bert, **keys)


def test_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"benchmark\.bertscore\.model=.*expected a directory with config\.json"):
        score(tmp_path)
