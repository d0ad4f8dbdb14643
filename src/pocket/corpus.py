"""The corpus: distinct behaviors, divided into splits that share no composition and no behavior."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cached_property, lru_cache

from src.pocket.programs.composition import Composition
from src.pocket.programs.inputs import probes
from src.pocket.programs.sampling import draw_composition
from src.utils.errors import unknown_choice
from src.utils.seeding import derive_seed

SPLITS = ("train", "validation", "test")
LONGEST_RESULT = 400  # characters; products of powers can grow very long


def results(composition: Composition) -> list[str] | None:
    """The program's results on all probe inputs; None if one is too long to be a useful test."""
    shown = []
    for arguments in probes(composition.parameters):
        try:
            shown.append(repr(composition.run(*arguments)))
        except ValueError:  # an integer with more digits than Python prints
            return None
        if len(shown[-1]) > LONGEST_RESULT:
            return None
    return shown


def behavior(composition: Composition) -> str:
    """Fingerprint of a program's behavior: its parameters and its results on all probe inputs."""
    return _fingerprint(composition, results(composition))


def _fingerprint(composition: Composition, shown: list[str] | None) -> str:
    return hashlib.sha256(repr((composition.parameters, shown)).encode()).hexdigest()


@dataclass(frozen=True)
class PocketCorpus:
    """Compositions of distinct behavior by split, the same for the same arguments on every machine.

    Args:
        seed: Seed of all draws.
        train: Compositions in the training split.
        held_out: Compositions in each of validation and test.
    """

    seed: int = 0
    train: int = 2400
    held_out: int = 300

    @cached_property
    def _drawn(self) -> tuple[Composition, ...]:
        rng = random.Random(derive_seed("pocket corpus", self.seed))
        seen: set[str] = set()
        drawn: list[Composition] = []
        while len(drawn) < self.train + 2 * self.held_out:
            composition = draw_composition(rng)
            shown = results(composition)
            fingerprint = _fingerprint(composition, shown)
            if fingerprint not in seen and shown is not None and _is_telling(composition, shown):
                drawn.append(composition)
            seen.add(fingerprint)
        rng.shuffle(drawn)  # late draws are larger, since small behaviors run out
        return tuple(drawn)

    def compositions(self, split: str) -> tuple[Composition, ...]:
        """The compositions of a split, in a fixed order.

        Raises:
            UserError: Unknown split.
        """
        if split not in SPLITS:
            raise unknown_choice("split", split, list(SPLITS))
        start = {"test": 0, "validation": self.held_out, "train": 2 * self.held_out}[split]
        return self._drawn[start : start + (self.train if split == "train" else self.held_out)]


def _is_telling(composition: Composition, shown: list[str]) -> bool:
    """True if results vary over the inputs and differ from them, and every operator has an effect."""
    if max(map(shown.count, shown)) > 0.8 * len(shown):
        return False
    if shown == [repr(arguments[0]) for arguments in probes(composition.parameters)]:
        return False
    return all(results(simpler) != shown for simpler in composition.simpler())


@lru_cache(maxsize=4)
def corpus(seed: int) -> PocketCorpus:
    """The default corpus of a seed, built once per process."""
    return PocketCorpus(seed)
