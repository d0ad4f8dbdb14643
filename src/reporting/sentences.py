"""The sentences of a report, written from its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from src.checkpoints.layers import block_of, kind_of
from src.evaluation.generators.samples import CUT_OFF_WARNING, cut_off
from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.bootstrap import Spread
from src.reporting.figures.weights import layer_rows, specialist_pairs, variants_in_order
from src.reporting.format import average_change, average_points, plain, significant
from src.reporting.names import benchmark_label, listed, method_label
from src.reporting.study_report import Models


def finish_line(counts: Mapping[str, int]) -> str:
    """Say how the answers to a benchmark ended, from `finish_counts`, with a warning where many were cut off."""
    words = {"end": "at an end token", "stop": "at a stop string", "length": "cut off by max_new_tokens"}
    words["context"] = "without room in the model's context"
    said = ", ".join(f"{number} {words.get(reason, reason)}" for reason, number in counts.items() if number)
    total, cut = sum(counts.values()), cut_off(counts)
    if cut <= CUT_OFF_WARNING * total:
        return f"{total} answers ended: {said}"
    remedies = {
        "length": "raise benchmark.decoding.max_new_tokens, for all models that are compared",
        "context": "the model cannot read prompts that fill its context: compare only models that can",
    }
    advice = "; ".join(words for reason, words in remedies.items() if counts.get(reason))
    return f"{total} answers ended: {said}. WARNING: {cut / total:.1%} of the answers are cut off; {advice}"


def cluster_line(benchmark: str, clusters: int, items: int) -> str:
    """Say what intervals draw; empty if every item stands alone."""
    return f"{benchmark}: intervals draw the {clusters} clusters of the {items} rows" if clusters < items else ""


def clusters_sentence(relative: RelativeScores) -> str:
    """Name the benchmarks whose intervals draw clusters; empty if there are none."""
    named = [f"{benchmark_label(name)} ({count} clusters)" for name, count in relative.clusters.items()]
    return f"Intervals draw clusters of rows, such as repositories, on {listed(named)}." if named else ""


def mask_seeds_sentence(relative: RelativeScores, models: Models) -> str:
    """Name the merges whose scores are means over mask seeds; empty if there are none."""
    pooled = {name: count for name, count in relative.seeds.items() if count > 1}
    said = []
    for count in sorted(set(pooled.values())):
        names = [models[name].label for name in relative.subjects if pooled.get(name) == count]
        said.append(
            f"Scores of {listed(names)} are means over {count} mask seeds, problem by problem; the intervals are "
            f"those of the means."
        )
    return " ".join(said)


def spread_sentence(method: str, spread: Spread) -> str:
    """Say how much a chosen point's average depends on the mask seed."""
    return (
        f"{method_label(method)}: over {spread.n} mask seeds, the average change on test data has mean "
        f"{average_change(100 * spread.mean)} and standard deviation {100 * spread.deviation:.2f} points "
        f"({average_points(spread.lowest)} to {average_points(spread.highest)})."
    )


def norms_reading(layers: pd.DataFrame, models: Models) -> str:
    """Say which model moved furthest from the base and which least, and where the specialists moved most."""
    whole = layers[(layers["layer"] == "all") & (layers["kind"] == "all")].set_index("variant")["relative_l2"]
    moved = {name: float(whole[name]) for name in variants_in_order(layers, models) if name in whole.index}
    if not moved:
        return ""
    far, near = max(moved, key=lambda name: moved[name]), min(moved, key=lambda name: moved[name])
    first = f"Over the whole model, {models[far].in_a_sentence} moved by {_percent(moved[far])} of the base's norm"
    if near != far:
        first += f" (most) and {models[near].in_a_sentence} by {_percent(moved[near])} (least)"
    specialists = [name for name in moved if models[name].kind == "specialist"]
    return f"{first}. {_peaks(layers, specialists, models)}".strip()


def correlations_reading(correlations: pd.DataFrame, models: Models) -> str:
    """Say how the specialists' updates correlate by layer, with and without the study's threshold, and in sign."""
    return " ".join(_pair_reading(pair, rows) for pair, rows in specialist_pairs(correlations, models).items())


def _peaks(layers: pd.DataFrame, specialists: list[str], models: Models) -> str:
    said = []
    for name in specialists:
        rows = layer_rows(layers[layers["variant"] == name])
        if not rows.empty:
            top = rows.sort_values("relative_l2").iloc[-1]
            said.append(f"{models[name].in_a_sentence} in {_layer(top['layer'])} ({_percent(top['relative_l2'])})")
    return f"The largest move relative to the base's layer was that of {listed(said)}." if said else ""


def _pair_reading(pair: str, rows: pd.DataFrame) -> str:
    known = rows.dropna(subset=["pearson"])
    if known.empty:
        return f"The updates of {pair} have no correlation: at least one of the two specialists did not move."
    top = known.sort_values("pearson").iloc[-1]
    raw, cut, opposite = (known[column].median() for column in ("pearson", "pearson_thresholded", "sign_conflict"))
    return (
        f"The updates of {pair} correlate with r = {plain(raw)} in the median layer "
        f"(highest in {_layer(top['layer'])}, r = {plain(top['pearson'])}), and with r = {plain(cut)} when only large "
        f"updates count. In the median layer, {100 * opposite:.0f}% of the parameters that both specialists changed "
        f"moved in opposite directions; independent updates would give 50%."
    )


def _layer(layer: object) -> str:
    name = str(layer)
    if (block := block_of(name)) is not None:
        # A network with an encoder and a decoder has two blocks of each number.
        return f"layer {name if name.startswith(('encoder.', 'decoder.')) else block}"
    kinds = {"embeddings": "the embeddings", "norm": "the final norm", "lm_head": "the output head"}
    return kinds.get(kind_of(name), name)


def _percent(share: float) -> str:
    return f"{significant(100 * share)}%"
