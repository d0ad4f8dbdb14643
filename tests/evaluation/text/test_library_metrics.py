"""chrF++, ROUGE-L and METEOR against the libraries that define them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import sacrebleu
from nltk.translate.bleu_score import sentence_bleu
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer

from src.evaluation.text.bleu import bleu4_paper
from src.evaluation.text.corpus import chrf_plus_plus_corpus
from src.evaluation.text.library import chrf_plus_plus, rouge_l, rouge_l_stem
from src.evaluation.text.meteor import NoSynonyms, find_wordnet, meteor, tokens
from tests.evaluation.text.test_bleu import rows

GUIDE = "It is a guide to action which ensures that the military always obeys the commands of the party"
REFERENCE = "It is a guide to action that ensures that the military will forever heed Party commands"


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    return rows("Python")[:200]


def test_chrf_equals_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    for prediction, reference in pairs:
        assert chrf_plus_plus(prediction, reference) == (
            sacrebleu.sentence_chrf(prediction, [reference], word_order=2).score / 100
        )
    predictions, references = zip(*pairs, strict=True)
    assert chrf_plus_plus_corpus(predictions, references, resamples=10).mean == (
        sacrebleu.corpus_chrf(predictions, [references], word_order=2).score / 100
    )


def test_rouge_equals_rouge_score(pairs: list[tuple[str, str]]) -> None:
    plain, stemming = (RougeScorer(["rougeL"], use_stemmer=stem) for stem in (False, True))
    for prediction, reference in pairs:
        assert rouge_l(prediction, reference) == plain.score(reference, prediction)["rougeL"].fmeasure
        assert rouge_l_stem(prediction, reference) == stemming.score(reference, prediction)["rougeL"].fmeasure


@pytest.mark.parametrize("language", ["Java", "Go", "JS", "PHP", "Ruby"])
def test_every_metric_equals_its_library_in_the_other_languages(language: str) -> None:
    plain = RougeScorer(["rougeL"], use_stemmer=False)
    for prediction, reference in rows(language)[::8]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nltk warns about zero counts
            bleu = sentence_bleu([reference.split()], prediction.split())
        assert bleu4_paper(prediction, reference) == pytest.approx(bleu, abs=1e-12)
        assert chrf_plus_plus(prediction, reference) == (
            sacrebleu.sentence_chrf(prediction, [reference], word_order=2).score / 100
        )
        assert rouge_l(prediction, reference) == plain.score(reference, prediction)["rougeL"].fmeasure
        assert meteor(prediction, reference, NoSynonyms()) == (
            single_meteor_score(tokens(reference), tokens(prediction), wordnet=NoSynonyms())
        )


def test_rouge_hand_worked() -> None:
    # longest common subsequence "a c d" of 4 and 5 tokens: p 3/4, r 3/5, F 2/3
    assert rouge_l("a x c d", "a b c d e") == pytest.approx(2 / 3)


def test_stemming_joins_inflected_words() -> None:
    assert rouge_l("computes sums", "compute sum") == 0
    assert rouge_l_stem("computes sums", "compute sum") == 1
    assert rouge_l_stem("items its", "item it") == pytest.approx(0.5)  # words up to three letters stay


def test_tokens_split_the_full_stop_of_every_sentence() -> None:
    assert tokens("Adds x. Returns y.") == ["Adds", "x", ".", "Returns", "y", "."]
    assert tokens("") == []


def test_meteor_hand_worked() -> None:
    # "a b c" in one chunk of three matches, p = r = 1: 1 - 0.5 (1/3)^3
    assert meteor("a b c", "a b c", NoSynonyms()) == pytest.approx(1 - 0.5 / 27)
    # stems match: "computes"/"computing"
    assert meteor("computes", "computing", NoSynonyms()) == pytest.approx(0.5)
    assert meteor("", "a", NoSynonyms()) == meteor("a", "", NoSynonyms()) == meteor("a", "b", NoSynonyms()) == 0


def test_meteor_equals_nltk_on_the_same_tokens(pairs: list[tuple[str, str]]) -> None:
    for prediction, reference in pairs:
        expected = single_meteor_score(tokens(reference), tokens(prediction), wordnet=NoSynonyms())
        assert meteor(prediction, reference, NoSynonyms()) == expected


def test_meteor_with_wordnet_gives_nltks_documented_value() -> None:
    wordnet = find_wordnet()
    if wordnet is None:
        pytest.skip("no WordNet on this machine (python -m nltk.downloader wordnet)")
    assert meteor(GUIDE, REFERENCE, wordnet) == pytest.approx(0.6944, abs=5e-5)
    assert meteor("a fast dog", "a quick dog", wordnet) > 0.9
    assert meteor("a fast dog", "a quick dog", NoSynonyms()) < 0.7


# --- a small WordNet in its own format: lines of the data files without their offsets, and the words of their indices
LICENSE = "  1 This software and database is being provided to you\n"
SYNSETS = {
    "noun": ["03 n 03 car 0 auto 0 motor_car 0 000 | a motor vehicle"],
    "verb": ["30 v 02 run 0 go_fast 1 000 01 + 02 00 | move fast"],
    "adj": ["00 a 02 quick(p) 0 fast 0 000 | rapid"],
    "adv": [],
}
ENTRIES = {"noun": ["auto", "car", "motor_car"], "verb": ["run"], "adj": ["fast", "quick"], "adv": []}


def small_wordnet(directory: Path) -> None:
    directory.mkdir(parents=True)
    for (part, lines), code in zip(SYNSETS.items(), "nvar", strict=True):
        data = LICENSE + "".join(f"{len(LICENSE):08d} {line}  \n" for line in lines)
        index = [f"{word} {code} 1 0 1 0 {len(LICENSE):08d}  \n" for word in ENTRIES[part]]
        (directory / f"data.{part}").write_text(data)
        (directory / f"index.{part}").write_text(LICENSE + "".join(index))
        (directory / f"{part}.exc").write_text("ran run\n" if part == "verb" else "")
    (directory / "index.sense").touch()
    (directory / "lexnames").write_text("".join(f"{number:02d}\tname{number}\t1\n" for number in range(45)))


def test_synonyms_of_nltks_wordnet_match(tmp_path: Path) -> None:
    assert find_wordnet(tmp_path) is None
    small_wordnet(tmp_path / "corpora" / "wordnet")
    wordnet = find_wordnet(tmp_path)
    assert wordnet is not None
    one_match = pytest.approx(0.5)  # one chunk of one match: 1 - 0.5
    for words in (("fast", "quick"), ("auto", "car"), ("cars", "auto")):
        assert meteor(*words, wordnet) == one_match
        assert meteor(*words, NoSynonyms()) == 0
    assert meteor("dog", "car", wordnet) == 0


def test_wordnet_may_stay_zipped_as_nltk_downloads_it(tmp_path: Path) -> None:
    small_wordnet(tmp_path / "wordnet")
    (tmp_path / "data" / "corpora").mkdir(parents=True)
    shutil.make_archive(str(tmp_path / "data" / "corpora" / "wordnet"), "zip", tmp_path, "wordnet")
    wordnet = find_wordnet(tmp_path / "data")
    assert wordnet is not None
    assert meteor("fast", "quick", wordnet) == pytest.approx(0.5)
