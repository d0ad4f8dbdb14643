import pytest

from src.diagnostics.places import is_weight, place


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("model.embed_tokens.weight", "embeddings", "embeddings"),
        ("model.layers.0.self_attn.q_proj.weight", "0", "q"),
        ("model.layers.0.self_attn.k_proj.bias", "0", "k"),
        ("model.layers.11.self_attn.v_proj.weight", "11", "v"),
        ("model.layers.11.self_attn.o_proj.weight", "11", "o"),
        ("model.layers.2.mlp.gate_proj.weight", "2", "gate"),
        ("model.layers.2.mlp.up_proj.weight", "2", "up"),
        ("model.layers.2.mlp.down_proj.weight", "2", "down"),
        ("model.layers.2.input_layernorm.weight", "2", "norm"),
        ("model.layers.2.self_attn.q_norm.weight", "2", "norm"),
        ("model.norm.weight", "final norm", "norm"),
        ("lm_head.weight", "lm_head", "lm_head"),
        ("transformer.h.5.attn.c_attn.weight", "5", "other"),
        ("model.rotary.inv_freq", "other", "other"),
        ("scale", "other", "other"),
    ],
)
def test_layer_and_kind(name, layer, kind):
    found = place(name)
    assert (found.layer, found.kind) == (layer, kind)


def test_order_runs_from_input_to_output():
    names = [
        "lm_head.weight",
        "model.layers.10.mlp.up_proj.weight",
        "model.norm.weight",
        "model.layers.9.mlp.up_proj.weight",
    ]
    names.append("model.embed_tokens.weight")
    ordered = sorted((place(name) for name in names), key=lambda found: found.order)
    assert [found.layer for found in ordered] == ["embeddings", "9", "10", "final norm", "lm_head"]


def test_biases_are_no_weights():
    assert is_weight("model.layers.0.input_layernorm.weight")
    assert not is_weight("model.layers.0.self_attn.q_proj.bias")
