"""Generation with transformers: whole benchmarks in batches, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from src.checkpoints import Checkpoint
from src.evaluation.generators.batching import batches
from src.evaluation.generators.decode import decode
from src.evaluation.generators.encoding import encode, render
from src.evaluation.generators.sampling import uniforms
from src.evaluation.generators.stopping import StopStrings
from src.evaluation.samples import Decoding, Prompt, Sample
from src.models import load_model, load_tokenizer, torch_dtype
from src.utils.errors import UserError
from src.utils.files import sha256_json


class HFGenerator:
    """Answers prompts with a transformers model.

    Args:
        device: `"auto"` (a GPU if there is one), `"cpu"`, `"cuda"`, `"cuda:1"`...
        dtype: `"auto"` (float32 on the CPU, the checkpoint's own on a GPU), or a torch dtype's name.
        attention: transformers' `attn_implementation`: `"sdpa"` or `"eager"`.
        token_budget: Most tokens (prompts and answers, padded) in one batch; bounds the key/value cache. No effect on
            the answers.
    """

    def __init__(
        self, device: str = "auto", dtype: str = "auto", attention: str = "sdpa", token_budget: int = 65_536
    ) -> None:
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.dtype = ("float32" if self.device.type == "cpu" else "auto") if dtype == "auto" else dtype
        self.attention, self.token_budget = attention, token_budget
        self.model: PreTrainedModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.weights = ""

    def load(self, checkpoint: Path) -> None:
        """Take a checkpoint's weights and tokenizer.

        Args:
            checkpoint: A Hugging Face directory.

        Raises:
            UserError: The directory holds no checkpoint.
        """
        stored = Checkpoint(checkpoint)
        dtype = stored.dtype(stored.names[0]) if self.dtype == "auto" else torch_dtype(self.dtype)
        model = load_model(checkpoint, dtype=dtype, attention=self.attention)
        self.attach(model, load_tokenizer(checkpoint), stored.fingerprint())

    def attach(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fingerprint: str) -> None:
        """Use a model that is in memory already; it is moved to the device and put in evaluation mode."""
        self.model = model.to(self.device).eval()  # type: ignore[arg-type]
        self.tokenizer, self.weights = tokenizer, fingerprint

    def identity(self) -> dict[str, Any]:
        """Weights, arithmetic, and the tokenizer with its chat template."""
        model, tokenizer = self._loaded()
        template = {"chat": tokenizer.chat_template, "ends": self._end_ids(), "vocabulary": tokenizer.get_vocab()}
        arithmetic = {"dtype": str(model.dtype), "attention": self.attention, "device": self.device.type}
        return {"generator": "hf", "weights": self.weights, "tokenizer": sha256_json(template), **arithmetic}

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding, skip: frozenset[tuple[str, int]] = frozenset()
    ) -> Iterator[Sample]:
        """Yield each answer as it is finished, longest prompts first.

        Args:
            prompts: Any number; an answer does not depend on what else is asked.
            decoding: How answers are drawn.
            skip: (prompt id, sample index) pairs to leave out.

        Raises:
            UserError: A prompt fills the model's context, or a chat prompt meets a tokenizer without a template.
        """
        model, tokenizer = self._loaded()
        texts = [render(prompt, tokenizer) for prompt in prompts]
        ids = encode(texts, [prompt.chat for prompt in prompts], tokenizer)
        limits = self._limits(prompts, ids, decoding.max_new_tokens)
        asked = [(row, index) for row in range(len(prompts)) for index in range(decoding.samples)]
        asked = [(row, index) for row, index in asked if (prompts[row].id, index) not in skip]
        stops = StopStrings(decoding.stop, tokenizer)
        ends = self._end_ids()
        for batch in batches([len(ids[row]) for row, _ in asked], decoding.max_new_tokens, self.token_budget):
            chosen = [asked[place] for place in batch]
            streams = [(prompts[row].id, index) for row, index in chosen]
            answers = decode(
                model,
                [ids[row] for row, _ in chosen],
                [limits[row] for row, _ in chosen],
                decoding,
                ends,
                uniforms(decoding.seed, streams, decoding.max_new_tokens) if decoding.temperature else None,
                (lambda _, answer: stops.found(answer)) if stops.strings else None,
                stops.completing if stops.strings else None,
                check_every=1 if self.device.type == "cpu" else 8,
            )
            for place, answer in answers:
                row, index = chosen[place]
                completion, stopped = stops.cut(stops.text(answer))
                finish = "stop" if stopped else "end" if answer[-1] in ends else "length"
                yield Sample(prompts[row].id, texts[row], completion, index, len(answer), finish)

    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        assert self.model is not None, "load a checkpoint first"
        assert self.tokenizer is not None
        return self.model, self.tokenizer

    def _limits(self, prompts: Sequence[Prompt], ids: list[list[int]], new_tokens: int) -> list[int]:
        """New tokens that fit into the context behind each prompt."""
        context = int(self._loaded()[0].config.max_position_embeddings)
        for prompt, row in zip(prompts, ids, strict=True):
            if len(row) >= context:
                raise UserError(
                    f"prompt {prompt.id} has {len(row)} tokens and the model a context of {context}: nothing is left "
                    "for an answer; drop the row or use a model with a longer context"
                )
        return [min(new_tokens, context - len(row)) for row in ids]

    def _end_ids(self) -> list[int]:
        model, tokenizer = self._loaded()
        configured = model.generation_config.eos_token_id if model.generation_config else None
        ends = set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
        return sorted(token for token in ends if token is not None)
