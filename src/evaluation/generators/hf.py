"""Generate with transformers: whole benchmarks in batches, on a CPU or GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from src.checkpoints import Checkpoint
from src.checkpoints.fingerprint import weights_fingerprint
from src.evaluation.generators.decode import decode
from src.evaluation.generators.requests import GenerationRequest, batches, generation_requests, over_context
from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.evaluation.generators.sampling import keys
from src.evaluation.generators.stopping import StopStrings, end_tokens
from src.evaluation.generators.swap_weights import all_but_weights, take_weights
from src.merging.engine.lazy import LazyMerge, merge_together
from src.merging.engine.outputs import ToFunction, ToModel
from src.models import load_model, load_tokenizer, torch_dtype, unfilled_model
from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.progress import say
from src.utils.threads import threads_for


class HFGenerator:
    """Answer prompts with a transformers model.

    Args:
        device: `"auto"` (a GPU if there is one), `"cpu"`, `"cuda"`, `"cuda:1"`...
        dtype: `"auto"` (float32 on the CPU, the checkpoint's own on a GPU), or a torch dtype's name.
        attention: transformers' `attn_implementation`, or `"auto"`: the fastest one installed.
        token_budget: Maximum number of tokens per batch, prompts and answers with padding; bounds the key/value cache.
            It does not change answers in float32; in bfloat16, different rounding may change a few tokens.
    """

    def __init__(
        self, device: str = "auto", dtype: str = "auto", attention: str = "auto", token_budget: int = 65_536
    ) -> None:
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.dtype = ("float32" if self.device.type == "cpu" else "auto") if dtype == "auto" else dtype
        self.attention, self.token_budget = attention, token_budget
        self.model: PreTrainedModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.weights = ""
        self._around: dict[str, Any] = {}

    def load(self, checkpoint: Path) -> None:
        """Load a checkpoint; if only its weights differ from the previous one's, copy them into the model in memory.

        Args:
            checkpoint: A Hugging Face directory.

        Raises:
            UserError: The directory holds no checkpoint.
        """
        stored = Checkpoint(checkpoint)
        around = all_but_weights(checkpoint)
        if self.model is not None and around == self._around:
            self.take(((name, stored.tensor(name)) for name in stored.names), weights_fingerprint(checkpoint))
            return
        dtype = stored.dtype(stored.names[0]) if self.dtype == "auto" else torch_dtype(self.dtype)
        model = load_model(checkpoint, dtype=dtype, attention=self.attention)
        self.attach(model, load_tokenizer(checkpoint), weights_fingerprint(checkpoint))
        self._around = around

    def load_lazy_merge(self, point: LazyMerge) -> None:
        """Merge into the model in memory, which is rebuilt if config or tokenizer differ from the previous one's.

        Args:
            point: A merge whose weights are not on disk.

        Raises:
            UserError: Its parents are missing or do not match.
        """
        around = self._rebuild_for(point)
        self._around = {}  # a merge that fails halfway leaves a mix of old and new weights: reload everything next time
        point.merge_into(ToModel(self._loaded()[0].state_dict()), self.device.type)
        self.weights, self._around = point.fingerprint, around

    def load_lazy_merges(self, points: Sequence[LazyMerge]) -> Iterator[UserError | None]:
        """Merge several points of the same parents in one pass, then load one after another.

        Args:
            points: With one config and tokenizer; the weights of all of them are in memory together.

        Yields:
            Once per point, when it is loaded: None, or the reason why it cannot be merged.

        Raises:
            UserError: The parents are missing or do not match.
        """
        around = self._rebuild_for(points[0])
        weights: list[dict[str, torch.Tensor]] = [{} for _ in points]
        sinks = [ToFunction(into.__setitem__) for into in weights]
        for point, merged, error in zip(points, weights, merge_together(points, sinks, self.device.type), strict=True):
            if error is None:
                self.take(merged.items(), point.fingerprint)
                self._around = around
            merged.clear()
            yield error

    def _rebuild_for(self, point: LazyMerge) -> dict[str, Any]:
        """Build the model that a merge needs, unless it is in memory; returns its config and tokenizer."""
        around = all_but_weights(point.directory, point.network)
        if self.model is None or around != self._around:
            stored = Checkpoint(point.base, point.allow_pickle)
            kept = point.recipe.output_dtype(stored.dtype(stored.names[0]))
            dtype = kept if self.dtype == "auto" else torch_dtype(self.dtype)
            model = unfilled_model(point.network, dtype=dtype, attention=self.attention)
            self.attach(model, load_tokenizer(point.directory), "")
        return around

    def take(self, tensors: Iterable[tuple[str, torch.Tensor]], fingerprint: str) -> None:
        """Replace the loaded model's weights tensor by tensor, without a checkpoint on disk.

        Args:
            tensors: (name, values) of every tensor; tied ones once.
            fingerprint: Identifies the new weights; equal weights must have equal fingerprints.

        Raises:
            UserError: The tensors do not fit the model.
        """
        take_weights(self._loaded()[0], tensors)
        self.weights = fingerprint

    def attach(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fingerprint: str) -> None:
        """Use a model that is already in memory; it is moved to the device and put in evaluation mode."""
        self.model = model.to(self.device).eval()  # type: ignore[arg-type]
        self.tokenizer, self.weights, self._around = tokenizer, fingerprint, {}

    def identity(self) -> dict[str, Any]:
        """Identify weights, arithmetic, and the tokenizer with its chat template."""
        model, tokenizer = self._loaded()
        template = {"chat": tokenizer.chat_template, "ends": self._end_ids(), "vocabulary": tokenizer.get_vocab()}
        attention = model.config._attn_implementation
        arithmetic = {"dtype": str(model.dtype), "attention": attention, "device": self.device.type}
        return {"generator": "hf", "weights": self.weights, "tokenizer": sha256_json(template), **arithmetic}

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding, skip: frozenset[tuple[str, int]] = frozenset()
    ) -> Iterator[Sample]:
        """Yield each answer as it finishes, longest prompts first.

        Args:
            prompts: Any number; an answer does not depend on what else is requested.
            decoding: How answers are drawn.
            skip: (prompt id, sample index) pairs to leave out.

        Raises:
            UserError: The tokenizer has no template for a chat prompt, or a single prompt exceeds the device's
                memory.
        """
        model, tokenizer = self._loaded()
        context = int(model.config.max_position_embeddings)
        requests = generation_requests(prompts, decoding, skip, tokenizer, context)
        yield from over_context(requests, context)
        requests = [request for request in requests if request.limit > 0]
        with threads_for(model.num_parameters()):
            yield from self._answers(requests, decoding, StopStrings(decoding.stop, tokenizer))

    def _answers(
        self, requests: Sequence[GenerationRequest], decoding: Decoding, stops: StopStrings
    ) -> Iterator[Sample]:
        lengths = [len(request.ids) for request in requests]
        groups = batches(lengths, decoding.max_new_tokens, self.token_budget)
        waiting = deque([requests[place] for place in group] for group in groups)
        while waiting:
            batch, answered = waiting.popleft(), set[int]()
            try:
                for row, answer in self._answer(batch, decoding, stops):
                    answered.add(row)
                    yield self._sample(batch[row], answer, stops)
            except torch.OutOfMemoryError as error:
                rest = [request for row, request in enumerate(batch) if row not in answered]
                if len(batch) == 1:
                    raise UserError(
                        f"prompt {rest[0].prompt.id} alone exceeds the memory of {self.device}; lower max_new_tokens"
                    ) from error
                say(f"{self.device} is out of memory: retrying the rest of a batch of {len(batch)} as two batches")
                torch.cuda.empty_cache()
                # Answers already yielded are kept; the rest are drawn again, with the same keys and thus the same
                # tokens.
                waiting.extendleft([half for half in (rest[len(rest) // 2 :], rest[: len(rest) // 2]) if half])

    def _answer(
        self, batch: list[GenerationRequest], decoding: Decoding, stops: StopStrings
    ) -> Iterator[tuple[int, list[int]]]:
        streams = [(request.prompt.id, request.index) for request in batch]
        return decode(
            self._loaded()[0],
            [request.ids for request in batch],
            [request.limit for request in batch],
            decoding,
            self._end_ids(),
            keys(decoding.seed, streams, decoding.max_new_tokens) if decoding.temperature else None,
            stops,
            check_every=1 if self.device.type == "cpu" else 8,
        )

    def _sample(self, request: GenerationRequest, answer: list[int], stops: StopStrings) -> Sample:
        completion, stopped = stops.cut(stops.text(answer))
        finish = "stop" if stopped else "end" if answer[-1] in self._end_ids() else "length"
        return Sample(request.prompt.id, request.text, completion, request.index, len(answer), finish)

    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        assert self.model is not None, "load a checkpoint first"
        assert self.tokenizer is not None
        return self.model, self.tokenizer

    def _end_ids(self) -> list[int]:
        model, tokenizer = self._loaded()
        return end_tokens(model.generation_config, tokenizer)
