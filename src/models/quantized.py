"""4-bit weights and 8-bit moments with bitsandbytes."""

from __future__ import annotations

import logging
from typing import Any

import torch


def bitsandbytes() -> Any:
    """Import the library without its log messages about missing kernels."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import bitsandbytes as library
    finally:
        logger.setLevel(level)
    return library


def quantization(compute: torch.dtype) -> Any:
    """Build the `quantization_config` of `load_model` for NF4 weights with quantized constants."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_use_double_quant=True,
    )
