"""Generate with vLLM: tensor parallel, one engine for all checkpoints of a grid.

Not yet run on a GPU by this project: the tests use a stand-in for vLLM (>= 0.12).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerBase

from src.checkpoints import Checkpoint, copy_side_files
from src.checkpoints.fingerprint import weights_fingerprint
from src.evaluation.generators.requests import GenerationRequest, generation_requests, over_context
from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.evaluation.generators.stopping import end_tokens
from src.evaluation.generators.swap_weights import all_but_weights
from src.merging.engine.lazy import LazyMerge
from src.merging.engine.outputs import ToDirectory
from src.models import generation_config, load_tokenizer
from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.seeding import derive_seed


class VLLMGenerator:
    """Answer prompts with a vLLM engine.

    vLLM schedules rows itself, and its kernels depend on what else is running. Unlike with `HFGenerator`, the last bits
    of the logits, and so a few tokens of an answer, may change with the batch.

    Args:
        tensor_parallel: Number of GPUs that share the model.
        dtype: `"auto"` (the checkpoint's own) or a torch dtype's name.
        gpu_memory: Fraction of each GPU's memory for vLLM, in (0, 1].
        max_length: Maximum length of prompt and answer, in tokens; None: the model's context.
        chunk: Number of answers requested at once; those of a finished chunk survive an interruption.
    """

    def __init__(
        self,
        tensor_parallel: int = 1,
        dtype: str = "auto",
        gpu_memory: float = 0.9,
        max_length: int | None = None,
        chunk: int = 1024,
    ) -> None:
        self.tensor_parallel, self.dtype, self.gpu_memory = tensor_parallel, dtype, gpu_memory
        self.max_length, self.chunk = max_length, chunk
        self.engine: Any = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.weights, self.context, self.ends = "", 0, list[int]()
        self._around: dict[str, Any] = {}

    def load(self, checkpoint: Path) -> None:
        """Load a checkpoint; if only its weights differ from the previous one's, load them into the running engine.

        Args:
            checkpoint: A Hugging Face directory, readable by every GPU's process.

        Raises:
            UserError: vLLM is not installed, the directory holds no checkpoint, or it needs another engine.
        """
        Checkpoint(checkpoint)  # report bad weights before starting an engine
        around = all_but_weights(checkpoint)
        if self.engine is None:
            self._start(checkpoint)
            self._around = around
        elif around == self._around:
            self.engine.collective_rpc("take_checkpoint", args=(str(checkpoint.resolve()),))
            self.engine.reset_prefix_cache()  # it holds keys and values of the old weights
        else:
            raise UserError(
                f"config or tokenizer of {checkpoint} differ from the running engine's; evaluate it in a separate run"
            )
        self.weights = weights_fingerprint(checkpoint)

    def load_lazy_merge(self, point: LazyMerge) -> None:
        """Merge into the engine; its processes read checkpoints, so the weights are on disk while they are loaded.

        Args:
            point: A merge whose weights are not on disk.

        Raises:
            UserError: As for `load`, or the point's parents do not match.
        """
        with TemporaryDirectory(prefix=".merge-", dir=point.directory.parent) as place:
            point.merge_into(ToDirectory(Path(place)))
            copy_side_files(point.network, Path(place))
            copy_side_files(point.directory, Path(place))
            self.load(Path(place))
        self.weights = point.fingerprint

    def identity(self) -> dict[str, Any]:
        """Identify weights, engine, arithmetic, and the tokenizer with its chat template."""
        import vllm

        tokenizer = self._loaded()
        template = {"chat": tokenizer.chat_template, "ends": self.ends, "vocabulary": tokenizer.get_vocab()}
        engine = {"generator": f"vllm {vllm.__version__}", "dtype": self.dtype, "tensor_parallel": self.tensor_parallel}
        return {"weights": self.weights, "tokenizer": sha256_json(template), **engine}

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding, skip: frozenset[tuple[str, int]] = frozenset()
    ) -> Iterator[Sample]:
        """Yield the answers, chunk by chunk.

        Args:
            prompts: Any number.
            decoding: How answers are drawn.
            skip: (prompt id, sample index) pairs to leave out.

        Raises:
            UserError: The tokenizer has no template for a chat prompt.
        """
        requests = generation_requests(prompts, decoding, skip, self._loaded(), self.context)
        yield from over_context(requests, self.context)
        requests = [request for request in requests if request.limit > 0]
        for start in range(0, len(requests), self.chunk):
            chunk = requests[start : start + self.chunk]
            inputs = [{"prompt_token_ids": request.ids} for request in chunk]
            parameters = [self._parameters(request, decoding) for request in chunk]
            outputs = self.engine.generate(inputs, parameters, use_tqdm=False)
            for request, output in zip(chunk, outputs, strict=True):
                yield _sample(request, output.outputs[0])

    def _start(self, checkpoint: Path) -> None:
        try:
            from vllm import LLM
        except ImportError as error:
            raise UserError(
                "generator=vllm needs vLLM: see docs/evaluation.md for an environment with it, or use generator=hf"
            ) from error
        self.engine = LLM(
            model=str(checkpoint),
            tensor_parallel_size=self.tensor_parallel,
            dtype=self.dtype,
            gpu_memory_utilization=self.gpu_memory,
            max_model_len=self.max_length,
            generation_config="vllm",  # not the checkpoint's: its length limit and penalties would apply silently
            seed=0,
            worker_extension_cls="src.evaluation.generators.vllm_worker.TakesCheckpoints",
        )
        self.tokenizer = load_tokenizer(checkpoint)
        self.ends = end_tokens(generation_config(checkpoint), self.tokenizer)
        self.context = self.max_length or int(
            AutoConfig.from_pretrained(checkpoint, trust_remote_code=False).max_position_embeddings
        )

    def _parameters(self, request: GenerationRequest, decoding: Decoding) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            max_tokens=request.limit,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k or -1,
            repetition_penalty=decoding.repetition_penalty,
            stop=list(decoding.stop) or None,
            stop_token_ids=self.ends,
            seed=derive_seed(decoding.seed, "sample", request.prompt.id, request.index)
            if decoding.temperature
            else None,
        )

    def _loaded(self) -> PreTrainedTokenizerBase:
        assert self.tokenizer is not None, "load a checkpoint first"
        return self.tokenizer


def _sample(request: GenerationRequest, answer: Any) -> Sample:
    """Convert an answer; vLLM reports `length` or `stop`, the latter with a string only after a stop string."""
    finish = "length" if answer.finish_reason == "length" else "stop" if isinstance(answer.stop_reason, str) else "end"
    return Sample(request.prompt.id, request.text, answer.text, request.index, len(answer.token_ids), finish)
