import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.bootstrap import spread
from src.evaluation.statistics.scores import Score
from src.reporting.sentences import (
    cluster_line,
    clusters_sentence,
    correlations_reading,
    finish_line,
    mask_seeds_sentence,
    norms_reading,
    spread_sentence,
)
from src.reporting.study_report import variant_models
from tests.reporting.example import models, relative

MODELS = variant_models(["a", "b", "TIES 0.3"], {"codegen": "a", "codesum": "b"})


def _layers(**shares):
    rows = [
        {"variant": variant.replace("_", " "), "layer": layer, "kind": "all", "relative_l2": share}
        for variant, by_layer in shares.items()
        for layer, share in by_layer.items()
    ]
    return pd.DataFrame(rows).replace({"variant": {"TIES": "TIES 0.3"}})


def test_who_moved_most_and_least():
    layers = _layers(
        a={"embed_tokens": 0.2, "layers.0": 0.1, "all": 0.15},
        b={"embed_tokens": 0.01, "layers.0": 0.05, "all": 0.04},
        TIES={"embed_tokens": 0.01, "layers.0": 0.02, "all": 0.0123},
    )
    assert norms_reading(layers, MODELS) == (
        "Over the whole model, the codegen specialist moved by 15.0% of the base's norm (most) and TIES 0.3 by 1.23% "
        "(least). The largest move relative to the base's layer was that of the codegen specialist in the embeddings "
        "(20.0%) and the codesum specialist in layer 0 (5.00%)."
    )


def test_a_single_variant():
    assert norms_reading(_layers(TIES={"layers.0": 0.2, "all": 0.2}), MODELS) == (
        "Over the whole model, TIES 0.3 moved by 20.0% of the base's norm."
    )


def test_nothing_to_read():
    assert norms_reading(_layers(a={"layers.0": 0.1}), MODELS) == ""


def _correlations(*rows):
    columns = ["layer", "pearson", "pearson_thresholded", "sign_conflict"]
    return pd.DataFrame(rows, columns=columns).assign(first="a", second="b", kind="all")


def test_how_alike():
    rows = _correlations(("embed_tokens", 0.1, 0.2, 0.5), ("layers.0", 0.3, 0.5, 0.4), ("norm", 0.2, 0.4, 0.45))
    assert correlations_reading(rows, MODELS) == (
        "The updates of codegen and codesum correlate with r = 0.20 in the median layer (highest in layer 0, "
        "r = 0.30), and with r = 0.40 when only large updates count. In the median layer, 45% of the parameters that "
        "both specialists changed moved in opposite directions; independent updates would give 50%."
    )


def test_a_specialist_that_did_not_move():
    nan = float("nan")
    assert correlations_reading(_correlations(("layers.0", nan, nan, nan)), MODELS) == (
        "The updates of codegen and codesum have no correlation: at least one of the two specialists did not move."
    )


def test_correlations_have_a_real_minus_sign():
    said = correlations_reading(_correlations(("layers.0", -0.014, -0.001, 0.5)), MODELS)
    assert "r = −0.01 in the median layer" in said
    assert "r = 0.00 when only large updates count" in said


def test_pooled_merges_are_named_with_their_number_of_seeds():
    assert mask_seeds_sentence(relative("validation"), models()) == ""
    assert mask_seeds_sentence(relative("test"), models()) == (
        "Scores of DARE 0.4 and DELLA 0.5 are means over 3 mask seeds, problem by problem; the intervals are those "
        "of the means."
    )


def test_clusters_are_named_where_intervals_draw_them():
    assert cluster_line("codexglue", 60, 1000) == "codexglue: intervals draw the 60 clusters of the 1000 rows"
    assert cluster_line("humaneval", 164, 164) == ""
    assert clusters_sentence(relative("test")) == ""
    rows = [Score("codexglue", name, "rouge_l", 0.5, name[0]) for name in ("aa", "ab", "ba")]
    found = RelativeScores({"sum": [[rows]]}, {"s": "sum"}, {"codexglue": "s"})
    assert (
        clusters_sentence(found) == "Intervals draw clusters of rows, such as repositories, on CodeXGLUE (2 clusters)."
    )


def test_spread_over_mask_seeds():
    assert spread_sentence("dare", spread([-0.10, -0.12, -0.14])) == (
        "DARE: over 3 mask seeds, the average change on test data has mean −12.00% and standard deviation 2.00 points "
        "(−14.00 to −10.00)."
    )


def test_answers_that_were_cut_off() -> None:
    few, many = {"end": 160, "stop": 3, "length": 1, "context": 0}, {"end": 90, "stop": 4, "length": 5, "context": 1}
    assert finish_line(few) == "164 answers ended: 160 at an end token, 3 at a stop string, 1 cut off by max_new_tokens"
    assert "WARNING: 6.0% of the answers are cut off; raise benchmark.decoding.max_new_tokens" in finish_line(many)
    assert "1 without room in the model's context" in finish_line(many)
    full = finish_line({"end": 0, "stop": 0, "length": 0, "context": 4})
    assert "WARNING: 100.0% of the answers are cut off; the model cannot read prompts that fill its context" in full
    assert "max_new_tokens" not in full
