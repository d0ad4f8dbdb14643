import pandas as pd

from src.reporting.sentences import (
    correlations_reading,
    norms_reading,
)
from src.reporting.study_report import variant_models

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
        "Over the whole model, the codegen specialist moved by 15.0% of the base's norm and TIES 0.3 by 1.23%. "
        "Relative to the base's layers, the codegen specialist in the embeddings (20.0%) and the codesum specialist "
        "in layer 0 (5.00%) moved most."
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
        "The updates of codegen and codesum correlate with r = 0.20 in the median layer (most in layer 0, r = 0.30), "
        "and with r = 0.40 when only large updates count. In the median layer 45% of the parameters that both changed "
        "were moved in opposite directions; independent updates would give 50%."
    )


def test_a_specialist_that_did_not_move():
    nan = float("nan")
    assert correlations_reading(_correlations(("layers.0", nan, nan, nan)), MODELS) == (
        "The correlation of codegen and codesum is undefined: at least one of them did not move."
    )
