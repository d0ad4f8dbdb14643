"""Settings of a search: the nodes of conf/search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, SkipValidation

from src.search.samplers import Count, Sampler
from src.utils.validation import checked_dataclass


@checked_dataclass("search")
class SearchSettings:
    """A search over merge points.

    Args:
        sampler: Chooses the points.
        space: Key -> range or choices (see `search_space`); None: coefficients and density.
        objective: One or more of `loss`, `loss.TASK`, `average`, `BENCHMARK`, `BENCHMARK/METRIC`; of validation data.
        budget: Number of points.
        batch: Points that are asked for and merged together.
        seed: Of the sampler.
        rows: Validation rows per task for the losses, evenly spaced; None: all.
        evaluate_overrides: Keys of evaluate.py for benchmarks.
    """

    sampler: SkipValidation[Sampler]
    space: Mapping[str, Any] | None
    objective: str | Sequence[str]
    budget: Count
    batch: Count
    seed: Annotated[int, Field(ge=0)]
    rows: Count | None
    evaluate_overrides: Sequence[str]

    @property
    def objectives(self) -> list[str]:
        """Names of the objectives."""
        return [self.objective] if isinstance(self.objective, str) else list(self.objective)
