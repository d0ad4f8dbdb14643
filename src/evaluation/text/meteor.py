"""nltk's METEOR (ACL W05-0909), with or without WordNet synonyms."""

from __future__ import annotations

import contextlib
import hashlib
import re
import warnings
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol

import nltk.data
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.stem.porter import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.translate.meteor_score import single_meteor_score

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Synonyms(Protocol):
    """The part of nltk's WordNet reader that METEOR uses."""

    def synsets(self, word: str) -> list[Any]:
        """Return the synonym sets of `word`; each has `.lemmas()`, each of which has a `.name()`."""
        ...


class NoSynonyms:
    """A WordNet without entries: exact and stem matches only."""

    def synsets(self, word: str) -> list[Any]:
        """Return no synonym set."""
        return []


def find_wordnet(directory: Path | str | None = None) -> WordNetCorpusReader | None:
    """Load nltk's WordNet 3.0 corpus, which `python -m nltk.downloader wordnet` installs.

    Args:
        directory: nltk data (holds `corpora/wordnet`); None: wherever nltk looks (`$NLTK_DATA`, ~/nltk_data, ...).

    Returns:
        nltk's reader, or None if the corpus is not there.
    """
    if directory is not None and str(directory) not in nltk.data.path:
        nltk.data.path.append(str(directory))  # nltk opens no files outside these directories
    places = nltk.data.path if directory is None else [str(directory)]
    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):  # unpacked, or as the downloader leaves it
        with contextlib.suppress(LookupError):
            return _reader(nltk.data.find(name, places))
    return None


def wordnet_hash(directory: Path | str | None = None) -> str | None:
    """Hash the files of the corpus that `find_wordnet` loads (SHA-256); None if it is not there."""
    found = find_wordnet(directory)
    return None if found is None else _files_hash(found)


@cache  # 35 MB
def _files_hash(reader: WordNetCorpusReader) -> str:
    digest = hashlib.sha256()
    for name in sorted(reader.fileids()):
        with contextlib.suppress(OSError), reader.root.join(name).open() as file:  # METEOR does not need all of them
            digest.update(f"{name}\0".encode() + file.read())
    return digest.hexdigest()


class CachedStemmer:
    """A Porter stemmer that stems each word once; summaries repeat a small vocabulary."""

    def __init__(self) -> None:
        self.stem = lru_cache(maxsize=200_000)(PorterStemmer().stem)


def tokens(text: str) -> list[str]:
    """Split text into Treebank tokens, sentence by sentence.

    nltk's `word_tokenize` finds sentences with a trained model that must be downloaded; here a sentence ends at `.`,
    `!` or `?` before white space, which changes a mean METEOR by about 0.001.
    """
    return [token for sentence in _SENTENCE_END.split(text) for token in _tokenizer().tokenize(sentence)]


def meteor(prediction: str, reference: str, wordnet: Synonyms) -> float:
    """Compute sentence METEOR; 0 if either side has no token.

    Args:
        prediction: Text to score.
        reference: The single reference.
        wordnet: Synonyms.

    Returns:
        A fraction. With `NoSynonyms`, report it as `meteor_nosyn`: it is about 2% lower.
    """
    wanted, got = tokens(reference), tokens(prediction)
    if not wanted or not got:
        return 0.0
    return float(single_meteor_score(wanted, got, stemmer=_stemmer(), wordnet=wordnet))


@cache  # takes seconds to load, and keeps its files open
def _reader(corpus: Any) -> WordNetCorpusReader:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The multilingual functions")  # METEOR does not use them
        return WordNetCorpusReader(corpus, None)


@cache
def _tokenizer() -> NLTKWordTokenizer:
    return NLTKWordTokenizer()


@cache
def _stemmer() -> CachedStemmer:
    return CachedStemmer()
