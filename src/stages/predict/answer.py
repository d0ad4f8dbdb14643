"""What the predictor says of the features of specialists, as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.predictor.atlas import other_settings
from src.predictor.features import FEATURES
from src.predictor.predictor import LEVEL, Predictor
from src.predictor.refit import FITTED


def prediction_lines(content: Mapping[str, Any], tasks: Sequence[str], fitted: str | None) -> Iterator[str]:
    """Features, answer, drivers, and what to try.

    Args:
        content: Of `features.json`: raw values by name, and the settings that they were measured with.
        tasks: Of the specialists.
        fitted: File of a predictor; None: the project's own, if there is one.

    Raises:
        UserError: The file is no predictor.
    """
    features = {name: float(content["features"][name]) for name in FEATURES}
    for name, value in features.items():
        yield f"{name:<24} {value:>10.4g}  {FEATURES[name].meaning}"
    place = FITTED if fitted is None else Path(fitted)
    if fitted is None and not place.is_file():
        yield "no predictor is fitted: python -m src.predictor.refit ATLAS.csv (docs/predictor.md)"
    elif differing := other_settings(content["settings"]):
        yield f"no prediction: the features were measured with {differing}"
    else:
        yield from _answer(Predictor.load(place), features, tasks)
    yield from advice(features, tasks)


def _answer(predictor: Predictor, features: Mapping[str, float], tasks: Sequence[str]) -> Iterator[str]:
    if reasons := predictor.outside(features, tasks):
        yield f"outside the atlas, so no prediction: {'; '.join(reasons)}"
        return
    found = predictor.predict(features)
    yield (
        f"mixing wins by more than {predictor.margin:g} points with probability {found.mix_wins:.2f}; expected gap "
        f"(merge minus mixture) {found.gap:+.1f} {predictor.unit}, "
        f"{LEVEL:.0%} interval {found.low:+.1f} to {found.high:+.1f}"
    )
    if predictor.record:
        yield f"how good such predictions were on what was left out: {predictor.record}"
    moved = ", ".join(f"{name} {points:+.1f}" for name, points in found.drivers.items())
    yield f"driven by (points from the atlas's mean): {moved or 'nothing: no feature helps to predict'}"


def advice(features: Mapping[str, float], tasks: Sequence[str]) -> Iterator[str]:
    """What the measured losses suggest to try; these are facts of the losses, not predictions of scores."""
    excess, shrinkage = features["half_excess"], features["half_shrinkage"]
    common, gained = features["lambda_star"], features["half_excess"] - features["lambda_excess"]
    if gained > 0:
        weights = ", ".join(f"{task}: {common:.2f}" for task in tasks)
        yield (
            f"try: merge=task_arithmetic 'merge.weights={{{weights}}}', {gained:.3f} nats per token below the plain "
            "average on validation rows"
        )
    if excess > 0 and shrinkage >= excess / 2:
        share = min(shrinkage / excess, 1)
        yield f"{share:.0%} of the plain average's excess is shrinkage: raise the coefficients first"
    elif excess > 0:
        yield (
            f"{1 - shrinkage / excess:.0%} of the plain average's excess is interference: try merge=ties, or "
            "specialists that move less (a lower learning rate, fewer steps)"
        )
    if features["forgetting"] > features["gain"] > 0:
        yield "a specialist costs the other tasks more than it gains on its own: try a lower learning rate"
