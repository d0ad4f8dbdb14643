"""Has a benchmark been trained on? Equal ids, shared 10-grams, and equal programs up to names.

Overlap is Llama 2's (arXiv 2307.09288, appendix A.6): the share of an item's tokens that lie in a 10-gram which
training data contain. Items below 20 % are clean, items from 80 % on dirty.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from src.evaluation.normal_form import function_forms
from src.evaluation.scores import ItemScore, summarise
from src.evaluation.statistics import Interval
from src.utils.errors import UserError

ORDER = 10
CLEAN, DIRTY = 0.2, 0.8
_WORDS = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Document:
    """A training row or a benchmark item.

    Attributes:
        id: Comparable between the two sides where they share a source, e.g. `Mbpp/601` or a URL.
        texts: Prompt, answer, ...; no 10-gram spans two of them.
        programs: Python sources in it.
    """

    id: str
    texts: tuple[str, ...]
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What training data hold of one benchmark item.

    Attributes:
        item: Its id.
        same_id: Whether a training row has the same id.
        overlap: Share of its tokens in a 10-gram of training data.
        overlap_with: Training row that shares most; empty if none.
        same_program: Training row with an equal program up to names; empty if none.
    """

    item: str
    same_id: bool
    overlap: float
    overlap_with: str
    same_program: str

    @property
    def verdict(self) -> str:
        """`clean`, `dirty` (same id, same program, or overlap from 80 %), or `between`."""
        if self.same_id or self.same_program or self.overlap >= DIRTY:
            return "dirty"
        return "clean" if self.overlap < CLEAN else "between"


class _Item:
    """Which tokens of an item have been met."""

    def __init__(self, document: Document) -> None:
        self.fields = [_WORDS.findall(text.lower()) for text in document.texts]
        self.met = [bytearray(len(tokens)) for tokens in self.fields]
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
        return min(ORDER, len(self.fields[field]))

    @property
    def size(self) -> int:
        return max(1, sum(map(len, self.met)))

    @property
    def overlap(self) -> float:
        return sum(map(sum, self.met)) / self.size


def find_contamination(training: Iterable[Document], items: Sequence[Document]) -> list[Finding]:
    """Compare training rows, read once, with the items of a benchmark.

    Args:
        training: Any number; only the benchmark is held in memory.
        items: The benchmark.

    Returns:
        One finding an item, in order.

    Raises:
        UserError: No items.
    """
    if not items:
        raise UserError("no benchmark items to check; expected at least one")
    state = [_Item(item) for item in items]
    grams, forms = _gram_index(state), _form_index(items)
    ids, same_program = set[str](), dict[int, str]()
    for document in training:
        ids.add(document.id)
        for number, places in _shared(document, grams).items():
            state[number].meet(places, document.id)
        for form in _forms(document) if forms else ():
            for number in forms.get(form, ()):
                same_program.setdefault(number, document.id)
    return [
        Finding(item.id, item.id in ids, found.overlap, found.best[1], same_program.get(number, ""))
        for number, (item, found) in enumerate(zip(items, state, strict=True))
    ]


def dirty_rows(training: Iterable[Document], items: Sequence[Document]) -> Iterator[bool]:
    """For each training row, whether it must go so that no item of a benchmark has been trained on.

    A row is dirty that has an item's id, a program equal to an item's up to names, or the 10-grams of at least 20 % of
    an item's tokens.

    Args:
        training: Any number; only the benchmark is held in memory.
        items: The benchmark.
    """
    state = [_Item(item) for item in items]
    grams, forms, ids = _gram_index(state), _form_index(items), {item.id for item in items}
    for document in training:
        shares = (
            len(state[number].covered(places)) / state[number].size
            for number, places in _shared(document, grams).items()
        )
        yield document.id in ids or any(share >= CLEAN for share in shares) or not _forms(document).isdisjoint(forms)


def clean_scores(
    scores: Sequence[ItemScore], findings: Sequence[Finding]
) -> dict[str, tuple[Interval, Interval | None]]:
    """Means over all items and over the clean ones.

    Args:
        scores: Item scores of a checkpoint.
        findings: Of the same benchmark.

    Returns:
        metric -> (all items, clean items or None if there are none).

    Raises:
        UserError: A scored item was not checked.
    """
    verdicts = {finding.item: finding.verdict for finding in findings}
    unchecked = [score.item for score in scores if score.item not in verdicts]
    if unchecked:
        raise UserError(f"item {unchecked[0]} was scored but not checked; use the same benchmark for both")
    everything = summarise(scores)
    clean = summarise([score for score in scores if verdicts[score.item] == "clean"])
    return {metric: (interval, clean.get(metric)) for metric, interval in everything.items()}


def _gram_index(items: Sequence[_Item]) -> dict[str, list[tuple[int, int, int]]]:
    """10-gram -> (item, field, place); a shorter field of five tokens or more counts as one gram."""
    index = defaultdict[str, list[tuple[int, int, int]]](list)
    for number, item in enumerate(items):
        for field, tokens in enumerate(item.fields):
            for place, gram in _grams(tokens):
                index[gram].append((number, field, place))
    return dict(index)


def _grams(tokens: Sequence[str]) -> Iterable[tuple[int, str]]:
    if len(tokens) < ORDER:
        return [(0, " ".join(tokens))] if len(tokens) >= ORDER // 2 else []
    return [(place, " ".join(tokens[place : place + ORDER])) for place in range(len(tokens) - ORDER + 1)]


def _shared(document: Document, grams: Mapping[str, list[tuple[int, int, int]]]) -> dict[int, set[tuple[int, int]]]:
    """item -> places of its 10-grams that the document holds."""
    shared = defaultdict[int, set[tuple[int, int]]](set)
    for text in document.texts:
        for _, gram in _grams(_WORDS.findall(text.lower())):
            for number, field, place in grams.get(gram, ()):
                shared[number].add((field, place))
    return shared


def _form_index(items: Sequence[Document]) -> dict[str, list[int]]:
    index = defaultdict[str, list[int]](list)
    for number, item in enumerate(items):
        for form in _forms(item):
            index[form].append(number)
    return dict(index)


def _forms(document: Document) -> set[str]:
    return {form for program in document.programs for form in function_forms(program)}
