"""Generate with any server that has OpenAI's protocol: vLLM, SGLang, llama.cpp, Ollama, and others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import field
from typing import Annotated, Any
from urllib.parse import urlsplit

from openai import APIError, AsyncOpenAI
from pydantic import Field

from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.evaluation.generators.served import KEY, api_key, explained, served_model
from src.evaluation.generators.stopping import cut_at
from src.utils.background_loop import background_loop
from src.utils.errors import UserError
from src.utils.seeding import derive_seed
from src.utils.validation import checked_dataclass

SEEDS = 1 << 31  # some servers keep 32 bits
OWN = {"model", "messages", "prompt", "n", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p"}
OWN |= {"seed", "stop", "continue_final_message", "add_generation_prompt"}
EXTENSIONS = ("top_k", "min_p", "repetition_penalty", "repeat_penalty", "repeat_last_n")


@checked_dataclass("generator")
class OpenAIGenerator:
    """Answer prompts by requests to a server, many at once.

    A server schedules requests itself: as with `VLLMGenerator`, a few tokens of an answer may change with the load.

    Attributes:
        base_url: `http://HOST:PORT/v1`.
        model: A name that the server lists.
        revision: Name of the weights, for servers where one model name stands for several.
        concurrency: Number of requests in flight.
        timeout: Time for one answer, in seconds.
        retries: Attempts after the first, for errors that may pass; their pauses grow from 0.5 to 8 seconds.
        extensions: Send top-k, penalties and prefill, which are not OpenAI's but vLLM's, SGLang's and llama.cpp's.
        extra_body: More fields of every request, such as arguments of the chat template.
    """

    base_url: str | None = None
    model: str | None = None
    revision: str | None = None
    concurrency: Annotated[int, Field(ge=1)] = 64
    timeout: Annotated[float, Field(gt=0)] = 600.0
    retries: Annotated[int, Field(ge=0)] = 5
    extensions: bool = True
    extra_body: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.base_url or not self.model:
            raise UserError(
                "generator=openai needs generator.base_url=http://HOST:PORT/v1 and generator.model=NAME, got "
                f"{self.base_url} and {self.model}"
            )
        place = urlsplit(self.base_url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise UserError(f"generator.base_url={self.base_url}: expected http://HOST:PORT/v1")
        if place.username or place.password or place.query:
            raise UserError(f"generator.base_url holds a password or a query; set {KEY} in the environment instead")
        if taken := sorted(set(self.extra_body) & {*OWN, *(EXTENSIONS if self.extensions else ())}):
            raise UserError(f"generator.extra_body has {', '.join(taken)}; set benchmark.decoding.* instead")

    def identity(self) -> dict[str, Any]:
        """Identify server, model and request fields; asked anew each time, since a server may be replaced.

        Raises:
            UserError: There is no such server or model.
        """
        place, model = self._place()
        sent = {"extensions": self.extensions, "extra_body": self.extra_body}
        named = {"generator": "openai", "base_url": place, "model": model, "revision": self.revision}
        return {**named, **served_model(place, model), **sent}

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding, skip: frozenset[tuple[str, int]] = frozenset()
    ) -> Iterator[Sample]:
        """Yield the answers as they come; the answers before an error are yielded before it is raised.

        Args:
            prompts: Any number.
            decoding: How answers are drawn; each is a request of its own.
            skip: (prompt id, sample index) pairs to leave out.

        Raises:
            UserError: The server refuses a request or stays unreachable, or decoding needs `extensions`.
        """
        self._check(prompts, decoding)
        wanted = [(prompt, index) for prompt in prompts for index in range(decoding.samples)]
        place, _ = self._place()
        with background_loop() as loop:
            client = AsyncOpenAI(base_url=place, api_key=api_key(), timeout=self.timeout, max_retries=self.retries)
            slots = asyncio.Semaphore(self.concurrency)
            futures = [
                asyncio.run_coroutine_threadsafe(self._answer(client, slots, prompt, index, decoding), loop)
                for prompt, index in wanted
                if (prompt.id, index) not in skip
            ]
            try:
                yield from _as_they_come(futures)
            finally:
                for future in futures:
                    future.cancel()
                asyncio.run_coroutine_threadsafe(client.close(), loop).result()

    async def _answer(
        self, client: AsyncOpenAI, slots: asyncio.Semaphore, prompt: Prompt, index: int, decoding: Decoding
    ) -> Sample:
        place, model = self._place()
        fields: dict[str, Any] = {"model": model, **self._fields(prompt, index, decoding)}
        extra = self.extra_body | self._extensions(prompt, decoding)
        try:
            async with slots:
                if prompt.chat:
                    messages: Any = _messages(prompt)
                    chat = await client.chat.completions.create(messages=messages, **fields, extra_body=extra)
                    return _sample(prompt, index, decoding, chat, chat.choices[0].message.content)
                raw = await client.completions.create(prompt=prompt.text, **fields, extra_body=extra)
                return _sample(prompt, index, decoding, raw, raw.choices[0].text)
        except APIError as error:
            raise explained(error, place, prompt.id) from error
        except (AttributeError, IndexError, TypeError) as error:  # the client does not check what it reads
            raise UserError(f"{place}: expected an answer in OpenAI's protocol to {prompt.id} ({error})") from error

    def _fields(self, prompt: Prompt, index: int, decoding: Decoding) -> dict[str, Any]:
        fields: dict[str, Any] = {"max_tokens": decoding.max_new_tokens, "temperature": decoding.temperature}
        fields["top_p"] = decoding.top_p
        if decoding.stop:
            fields["stop"] = list(decoding.stop)
        if decoding.temperature:
            fields["seed"] = derive_seed(decoding.seed, "sample", prompt.id, index) % SEEDS
        return fields

    def _extensions(self, prompt: Prompt, decoding: Decoding) -> dict[str, Any]:
        """Neutral values are sent, too: a server would apply its own or those of the generation config."""
        if not self.extensions:
            return {}
        penalty = decoding.repetition_penalty
        names = dict(zip(EXTENSIONS, (decoding.top_k or -1, 0.0, penalty, penalty, -1), strict=True))
        return names | ({"continue_final_message": True, "add_generation_prompt": False} if prompt.prefill else {})

    def _check(self, prompts: Sequence[Prompt], decoding: Decoding) -> None:
        needed = {
            "benchmark.decoding.top_k": decoding.top_k != 0,
            "benchmark.decoding.repetition_penalty": decoding.repetition_penalty != 1,
            "benchmark.prefill": any(prompt.prefill for prompt in prompts),
        }
        if not self.extensions and any(needed.values()):
            keys = ", ".join(key for key, used in needed.items() if used)
            raise UserError(f"{keys}: not in OpenAI's protocol; set generator.extensions=true, or leave out these keys")

    def _place(self) -> tuple[str, str]:
        assert self.base_url is not None
        assert self.model is not None
        return self.base_url.rstrip("/"), self.model


def _as_they_come(futures: Sequence[Future[Sample]]) -> Iterator[Sample]:
    """Yield results until the first error, then those that are there already, and raise it."""
    waiting, failed = set(futures), None
    for future in as_completed(futures):
        waiting.remove(future)
        if failed := future.exception():
            break
        yield future.result()
    if failed is not None:
        yield from (future.result() for future in waiting if future.done() and future.exception() is None)
        raise failed


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": prompt.text}]
    return turns + ([{"role": "assistant", "content": prompt.prefill}] if prompt.prefill else [])


def _sample(prompt: Prompt, index: int, decoding: Decoding, answer: Any, text: str | None) -> Sample:
    """Convert an answer; vLLM and SGLang tell the stop string apart from the end token, other servers do not."""
    choice = answer.choices[0]
    more = choice.model_extra or {}
    told = isinstance(more.get("stop_reason"), str) or isinstance(more.get("matched_stop"), str)
    shown = (text or "").removeprefix(prompt.prefill)  # some servers repeat it
    completion, cut = cut_at(shown, decoding.stop)  # some take four stop strings at most, or none
    finish = "stop" if cut else {"stop": "stop" if told else "end"}.get(choice.finish_reason, choice.finish_reason)
    tokens = answer.usage.completion_tokens if answer.usage else 0
    return Sample(prompt.id, prompt.text + prompt.prefill, completion, index, tokens, str(finish))
