"""Overlap of a benchmark with training data: same ids, shared 10-grams, and same programs up to names.

Overlap is defined as in Llama 2 (arXiv 2307.09288, appendix A.6): the share of an item's tokens that are in a 10-gram
of the training data. Items below 20% are clean, items at 80% or above are dirty.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from src.data.words import hash64, words
from src.evaluation.contamination.code_forms import function_forms
from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.statistics.scores import Metric, Score, summarize
from src.utils.errors import UserError

ORDER = 10
CLEAN, DIRTY = 0.2, 0.8


@dataclass(frozen=True)
class Document:
    """A training row or a benchmark item.

    Attributes:
        id: Comparable between the two sides if they have the same source, e.g. `Mbpp/601` or a URL.
        texts: Prompt, answer, ...; no 10-gram spans two of them.
        programs: Python sources in the document.
    """

    id: str
    texts: tuple[str, ...]
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Overlap of one benchmark item with training data.

    Attributes:
        item: Its id.
        same_id: A training row has the same id.
        overlap: Share of its tokens in a 10-gram of training data.
        overlap_with: Training row that shares the most; empty if none.
        same_program: Training row with an equal program up to names; empty if none.
    """

    item: str
    same_id: bool
    overlap: float
    overlap_with: str
    same_program: str

    @property
    def verdict(self) -> str:
        """`clean`, `dirty` (same id, same program, or overlap of at least 80%), or `between`."""
        if self.same_id or self.same_program or self.overlap >= DIRTY:
            return "dirty"
        return "clean" if self.overlap < CLEAN else "between"


class _Item:
    """Tokens of an item that were found in training data."""

    def __init__(self, document: Document) -> None:
        self.met = [bytearray(len(tokens)) for tokens in _fields(document)]
        self.best = (0, "")

    def meet(self, places: set[tuple[int, int]], document: str) -> None:
        covered = self.covered(places)
        for field, place in covered:
            self.met[field][place] = 1
        self.best = max(self.best, (len(covered), document), key=lambda best: best[0])

    def covered(self, places: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """(field, token) of all tokens in the 10-grams that begin at these places."""
        return {(field, start + step) for field, start in places for step in range(self.span(field))}

    def span(self, field: int) -> int:
        return min(ORDER, len(self.met[field]))

    @property
    def size(self) -> int:
        return max(1, sum(map(len, self.met)))

    @property
    def overlap(self) -> float:
        return sum(map(sum, self.met)) / self.size


def find_contamination(training: Iterable[Document], items: Sequence[Document]) -> list[Finding]:
    """Compare training rows, read once, with the items of a benchmark.

    Args:
        training: Any number of rows; only the benchmark is kept in memory.
        items: The benchmark.

    Returns:
        One finding per item, in order.

    Raises:
        UserError: No items.
    """
    if not items:
        raise UserError("no benchmark items to check; expected at least one")
    state = [_Item(item) for item in items]
    grams, forms = _GramIndex(items), _form_index(items)
    ids, same_program = set[str](), dict[int, str]()
    for document in training:
        ids.add(document.id)
        for number, places in grams.shared(document).items():
            state[number].meet(places, document.id)
        for form in _forms(document) if forms else ():
            for number in forms.get(form, ()):
                same_program.setdefault(number, document.id)
    return [
        Finding(item.id, item.id in ids, found.overlap, found.best[1], same_program.get(number, ""))
        for number, (item, found) in enumerate(zip(items, state, strict=True))
    ]


class OverlapFilter:
    """Find the training rows to drop so that no benchmark item is trained on.

    It is small enough to send to other processes: 10-grams and programs are stored as 64-bit hashes.

    Args:
        items: The benchmark.
    """

    def __init__(self, items: Iterable[Document]) -> None:
        read, self._forms = list[Document](), set[int]()
        for item in items:
            read.append(item)
            self._forms |= {hash64(form) for form in _forms(item)}
        self._ids = {item.id for item in read}
        self._items = [_Item(item) for item in read]
        self._grams = _GramIndex(read)

    def is_dirty(self, row: Document) -> bool:
        """Return True if it has an item's id, its program up to names, or 10-grams that cover 20% of its tokens."""
        shares = (
            len(self._items[number].covered(places)) / self._items[number].size
            for number, places in self._grams.shared(row).items()
        )
        return (
            row.id in self._ids
            or any(share >= CLEAN for share in shares)
            or not self._forms.isdisjoint(map(hash64, _forms(row)))
        )


def clean_scores(
    scores: Sequence[Score], findings: Sequence[Finding]
) -> dict[Metric, tuple[Interval, Interval | None]]:
    """Compute means over all items and over the clean ones.

    Args:
        scores: Item scores of a checkpoint.
        findings: Of the same benchmark.

    Returns:
        (benchmark, metric) -> (all items, clean items or None if there are none).

    Raises:
        UserError: A scored item was not checked.
    """
    verdicts = {finding.item: finding.verdict for finding in findings}
    unchecked = [score.item for score in scores if score.item not in verdicts]
    if unchecked:
        raise UserError(f"item {unchecked[0]} was scored but not checked; set the same benchmark= for both")
    everything = summarize(scores)
    clean = summarize([score for score in scores if verdicts[score.item] == "clean"])
    return {metric: (interval, clean.get(metric)) for metric, interval in everything.items()}


class _GramIndex:
    """Index of 10-grams: which items contain one, and where; a shorter field of at least five tokens is one gram.

    A gram is stored as its hash, in 20 bytes; as text in a dictionary it would take 300. Shapes: G grams.
    """

    def __init__(self, items: Sequence[Document]) -> None:
        hashes, places = array("Q"), array("i")  # (G); (3G): item, field, place in the field
        for number, item in enumerate(items):
            for field, tokens in enumerate(_fields(item)):
                for place, gram in _grams(tokens):
                    hashes.append(hash64(gram))
                    places.extend((number, field, place))
        order = np.argsort(hashes, kind="stable")
        self._hashes = np.asarray(hashes)[order]
        self._places = np.asarray(places).reshape(-1, 3)[order]

    def shared(self, document: Document) -> dict[int, set[tuple[int, int]]]:
        """item -> (field, place) of its 10-grams that the document contains."""
        wanted = {hash64(gram) for tokens in _fields(document) for _, gram in _grams(tokens)}
        hashes = np.fromiter(wanted, np.uint64, len(wanted))
        first, last = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        shared = defaultdict[int, set[tuple[int, int]]](set)
        for gram in np.flatnonzero(first < last):
            for number, field, place in self._places[first[gram] : last[gram]].tolist():
                shared[number].add((field, place))
        return shared


def _fields(document: Document) -> list[list[str]]:
    """Return the tokens of each of its texts."""
    return [words(text) for text in document.texts]


def _grams(tokens: Sequence[str]) -> Iterable[tuple[int, str]]:
    if len(tokens) < ORDER:
        return [(0, " ".join(tokens))] if len(tokens) >= ORDER // 2 else []
    return [(place, " ".join(tokens[place : place + ORDER])) for place in range(len(tokens) - ORDER + 1)]


def _form_index(items: Sequence[Document]) -> dict[str, list[int]]:
    index = defaultdict[str, list[int]](list)
    for number, item in enumerate(items):
        for form in _forms(item):
            index[form].append(number)
    return dict(index)


def _forms(document: Document) -> set[str]:
    return {form for program in document.programs for form in function_forms(program)}
