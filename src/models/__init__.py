"""conf/model -> tokenizer and network."""

from src.models.adapters import parameter_counts
from src.models.architecture import draw_model, model_config
from src.models.attention import choose_attention
from src.models.hub import local_directory
from src.models.kernels import apply_kernels, decoder_layers, narrow_stream, recompute_activations, wants_liger
from src.models.load import empty_model, generation_config, load_model, load_tokenizer, unfilled_model, without_bars
from src.models.spec import LoraSettings, ModelSpec, Recipe, torch_dtype

__all__ = [
    "LoraSettings",
    "ModelSpec",
    "Recipe",
    "apply_kernels",
    "choose_attention",
    "decoder_layers",
    "draw_model",
    "empty_model",
    "generation_config",
    "load_model",
    "load_tokenizer",
    "local_directory",
    "model_config",
    "narrow_stream",
    "parameter_counts",
    "recompute_activations",
    "torch_dtype",
    "unfilled_model",
    "wants_liger",
    "without_bars",
]
