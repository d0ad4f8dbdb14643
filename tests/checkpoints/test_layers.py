import pytest

from src.checkpoints.layers import KINDS, block_of, is_weight, kind_of, locate


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("model.embed_tokens.weight", "embed_tokens", "embeddings"),
        ("model.layers.0.self_attn.q_proj.weight", "layers.0", "q"),
        ("model.layers.0.self_attn.k_proj.bias", "layers.0", "k"),
        ("model.layers.11.self_attn.v_proj.weight", "layers.11", "v"),
        ("model.layers.11.self_attn.o_proj.weight", "layers.11", "o"),
        ("model.layers.2.mlp.gate_proj.weight", "layers.2", "gate"),
        ("model.layers.2.mlp.up_proj.weight", "layers.2", "up"),
        ("model.layers.2.mlp.down_proj.weight", "layers.2", "down"),
        ("model.layers.2.input_layernorm.weight", "layers.2", "norm"),
        ("model.layers.2.self_attn.q_norm.weight", "layers.2", "norm"),
        ("model.norm.weight", "norm", "norm"),
        ("lm_head.weight", "lm_head", "lm_head"),
        ("model.rotary.inv_freq", "rotary", "other"),
        ("scale", "scale", "other"),
        # GPT-2, with and without its head
        ("transformer.wte.weight", "wte", "embeddings"),
        ("transformer.h.5.attn.c_attn.weight", "h.5", "qkv"),
        ("h.5.attn.c_proj.bias", "h.5", "o"),
        ("h.5.mlp.c_proj.weight", "h.5", "down"),
        ("h.5.ln_1.weight", "h.5", "norm"),
        ("transformer.ln_f.weight", "ln_f", "norm"),
        # GPT-NeoX
        ("gpt_neox.embed_in.weight", "embed_in", "embeddings"),
        ("gpt_neox.layers.3.attention.query_key_value.weight", "layers.3", "qkv"),
        ("gpt_neox.layers.3.mlp.dense_4h_to_h.weight", "layers.3", "down"),
        ("embed_out.weight", "embed_out", "lm_head"),
        # T5: an encoder and a decoder, and numbers below the number of the block
        ("shared.weight", "shared", "embeddings"),
        ("encoder.block.0.layer.1.DenseReluDense.wi_0.weight", "encoder.block.0", "gate"),
        ("decoder.block.0.layer.1.EncDecAttention.q.weight", "decoder.block.0", "q"),
        ("encoder.final_layer_norm.weight", "encoder.final_layer_norm", "norm"),
        # BERT
        ("bert.embeddings.word_embeddings.weight", "embeddings.word_embeddings", "embeddings"),
        ("bert.encoder.layer.3.attention.self.query.weight", "encoder.layer.3", "q"),
        ("bert.encoder.layer.3.attention.output.dense.weight", "encoder.layer.3", "o"),
        ("bert.encoder.layer.3.output.dense.weight", "encoder.layer.3", "down"),
        ("bert.encoder.layer.3.output.LayerNorm.weight", "encoder.layer.3", "norm"),
        # mixtures of experts
        ("model.layers.2.mlp.experts.5.gate_proj.weight", "layers.2", "gate"),
        ("model.layers.2.mlp.experts.gate_up_proj", "layers.2", "gate_up"),
        ("model.layers.2.mlp.gate.weight", "layers.2", "router"),
        ("model.layers.2.block_sparse_moe.experts.5.w2.weight", "layers.2", "down"),
        # a language model beside a vision tower
        ("model.language_model.layers.3.mlp.up_proj.weight", "layers.3", "up"),
        ("language_model.model.layers.3.mlp.up_proj.weight", "layers.3", "up"),
        ("model.visual.blocks.3.mlp.fc1.weight", "visual.blocks.3", "up"),
        # adapters
        ("base_model.model.model.layers.0.self_attn.q_proj.weight", "layers.0", "q"),
    ],
)
def test_layer_and_kind(name, layer, kind):
    found = locate(name)
    assert (found.layer, found.kind) == (layer, kind)
    assert found.kind in KINDS
    assert found.block == block_of(layer)


def in_order(*layers):
    found = {locate(f"{layer}.weight") for layer in layers}
    return [location.layer for location in sorted(found, key=lambda location: location.order)]


def test_order_runs_from_input_to_output():
    expected = ["embed_tokens", "layers.9.mlp", "layers.10.mlp", "norm", "lm_head"]
    assert in_order(*sorted(expected)) == ["embed_tokens", "layers.9", "layers.10", "norm", "lm_head"]


def test_a_decoder_comes_after_its_encoder():
    expected = [
        *("shared", "encoder.block.0", "encoder.block.1", "encoder.final_layer_norm"),
        *("decoder.block.0", "decoder.block.1", "decoder.final_layer_norm", "lm_head"),
    ]
    assert in_order(*sorted(expected)) == expected


def test_the_kind_of_a_layer_outside_of_blocks():
    assert [kind_of(layer) for layer in ("wte", "encoder.final_layer_norm", "lm_head", "rotary")] == [
        *("embeddings", "norm", "lm_head", "other")
    ]


def test_biases_are_no_weights():
    assert is_weight("model.layers.0.input_layernorm.weight")
    assert not is_weight("model.layers.0.self_attn.q_proj.bias")
