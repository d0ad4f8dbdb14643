"""Answers of a real server over HTTP, with everything that goes wrong there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.generators.openai import OpenAIGenerator
from src.evaluation.generators.samples import Decoding, Prompt, Sample, generate_samples
from src.utils.errors import UserError
from tests.evaluation.generators.server import Served, serving
from tests.evaluation.generators.tiny import tiny_model

GREEDY = Decoding(max_new_tokens=9)


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as running:
        yield running


def generator(server: Served, **keys: Any) -> OpenAIGenerator:
    return OpenAIGenerator(base_url=server.url, model="tiny", **keys)


def answers(made: OpenAIGenerator, prompts: list[Prompt], decoding: Decoding = GREEDY) -> dict[str, Sample]:
    return {sample.task_id: sample for sample in made.generate(prompts, decoding)}


def test_a_chat_with_prefill_and_every_decoding_setting(server: Served) -> None:
    made = generator(server, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    decoding = Decoding(
        max_new_tokens=9, temperature=0.5, top_p=0.9, top_k=3, samples=2, repetition_penalty=1.1, stop=("\n#",)
    )
    found = list(made.generate([Prompt("p", "Hi", prefill="Sure:")], decoding, frozenset({("p", 0)})))
    assert [(sample.index, sample.completion, sample.tokens, sample.prompt) for sample in found] == [
        (1, "re: Hi", 7, "HiSure:")
    ]
    [body] = server.asked
    seed = body.pop("seed")
    assert 0 <= seed < 2**31
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure:"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n#"],
        "top_k": 3,
        "min_p": 0.0,
        "repetition_penalty": 1.1,
        "repeat_penalty": 1.1,
        "repeat_last_n": -1,
        "continue_final_message": True,
        "add_generation_prompt": False,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_a_raw_prompt_is_continued_with_neutral_values(server: Served) -> None:
    assert answers(generator(server), [Prompt("p", "def f", chat=False)])["p"].completion == "re: def f"
    [body] = server.asked
    assert body["prompt"] == "def f"
    assert (body["temperature"], body["top_k"], body["repetition_penalty"]) == (0.0, -1, 1.0)
    assert "seed" not in body


def test_every_sample_has_a_seed_of_its_own(server: Served) -> None:
    decoding = Decoding(temperature=1.0, samples=3)
    list(generator(server).generate([Prompt("p", "a"), Prompt("q", "b")], decoding))
    assert len({body["seed"] for body in server.asked}) == 6


@pytest.mark.parametrize(
    ("choice", "stop", "expected"),
    [
        ({"finish_reason": "stop"}, (), ("re: a b", "end")),
        ({"finish_reason": "stop", "stop_reason": 2}, ("\n",), ("re: a b", "end")),
        ({"finish_reason": "stop", "stop_reason": "\n"}, ("\n",), ("re: a b", "stop")),
        ({"finish_reason": "stop", "matched_stop": "\n"}, ("\n",), ("re: a b", "stop")),
        ({"finish_reason": "length"}, (), ("re: a b", "length")),
        ({"finish_reason": "length"}, (" b",), ("re: a", "stop")),  # a server that ignores `stop`
        ({"finish_reason": "content_filter"}, (), ("re: a b", "content_filter")),
        ({"finish_reason": "stop", "message": {"content": None}}, (), ("", "end")),
        ({"finish_reason": "stop", "message": {"content": "Sure: x"}}, (), (" x", "end")),  # the prefill again
    ],
)
def test_the_end_of_an_answer(server: Served, choice: dict[str, Any], stop: Any, expected: tuple[str, str]) -> None:
    server.choice = choice
    found = answers(generator(server), [Prompt("p", "a b", prefill="Sure:")], Decoding(stop=stop))["p"]
    assert (found.completion, found.finish) == expected


def test_errors_that_pass_are_tried_again(server: Served) -> None:
    prompts = [Prompt(text, text) for text in ("429 a", "500 b", "503 c", "hang d", "cut e", "fine f")]
    found = answers(generator(server, timeout=0.3, retries=2), prompts)
    assert {name: sample.completion for name, sample in found.items()} == {p.id: f"re: {p.id}" for p in prompts}
    assert server.attempts == {"429 a": 2, "500 b": 2, "503 c": 2, "hang d": 2, "cut e": 2, "fine f": 1}


def test_no_more_requests_at_once_than_asked_for(server: Served) -> None:
    server.slow = 0.02
    answers(generator(server, concurrency=3), [Prompt(str(number), f"p{number}") for number in range(12)])
    assert server.most == 3


@pytest.mark.parametrize(
    ("status", "attempts", "match"),
    [
        (401, 1, "refuses the key .401.; set OPENAI_API_KEY"),
        (404, 1, "generator.base_url=.*generator.model"),
        (400, 1, "no answer to p .400: .*scripted fault"),
        (500, 3, "no answer to p .500: .*scripted fault"),
    ],
)
def test_an_error_that_stays_is_one_line(server: Served, status: int, attempts: int, match: str) -> None:
    server.status["a"] = status
    with pytest.raises(UserError, match=match) as error:
        answers(generator(server, retries=2), [Prompt("p", "a")])
    assert "\n" not in str(error.value)
    assert server.attempts["a"] == attempts


def test_a_hang_that_stays_names_the_time_limit(server: Served) -> None:
    with pytest.raises(UserError, match=r"no answer to p in time.*generator.timeout"):
        answers(generator(server, timeout=0.1, retries=0), [Prompt("p", "hang")])


def test_answers_before_an_error_are_kept_and_not_asked_for_again(server: Served, tmp_path: Path) -> None:
    prompts = [Prompt(str(number), f"p{number}") for number in range(6)]
    server.status["p4"] = 401
    made = generator(server, concurrency=1)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        generate_samples(made, prompts, GREEDY, tmp_path, "key")
    assert sum((tmp_path / "key.jsonl").read_text().count(f'"re: p{number}"') for number in range(4)) == 4
    server.status.clear()
    found = generate_samples(made, prompts, GREEDY, tmp_path, "key")
    assert [sample.completion for sample in found] == [f"re: p{number}" for number in range(6)]
    assert [server.attempts[f"p{number}"] for number in range(5)] == [1, 1, 1, 1, 2]


def test_leaving_early_ends_the_requests(server: Served) -> None:
    prompts = [Prompt(str(number), f"p{number}") for number in range(50)]
    stream = generator(server, concurrency=1).generate(prompts, GREEDY)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(server.asked) < 50


def test_the_key_comes_from_the_environment(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    made = generator(server)
    answers(made, [Prompt("p", "a")])
    assert server.keys == {"Bearer secret"}
    assert "secret" not in str(made.identity())


def test_the_identity_is_what_the_server_tells(server: Served, tmp_path: Path) -> None:
    made = generator(server)
    before = made.identity()
    assert (before["model"], before["server"], before["root"]) == ("tiny", "vllm 0.12.0", "/models/tiny")
    assert before["weights"] is None
    server.version = None
    assert made.identity()["server"] is None
    server.version = "0.13.0"
    assert made.identity() == {**before, "server": "vllm 0.13.0"}
    assert generator(server, concurrency=2, timeout=1.0, retries=1).identity() == made.identity()
    hashes = []
    for hidden in (32, 64):  # other weights in one place
        tiny_model(hidden=hidden).save_pretrained(tmp_path)
        server.listed[0]["root"] = str(tmp_path)
        hashes.append(made.identity()["weights"])
    assert len(set(hashes)) == 2
    assert None not in hashes


def test_a_model_that_is_not_served(server: Served) -> None:
    server.listed.append({"id": "large"})
    with pytest.raises(UserError, match=r"unknown generator.model 'lange', did you mean 'large'"):
        OpenAIGenerator(base_url=server.url, model="lange").identity()


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as gone:
        url = gone.url
    monkeypatch.setattr("src.evaluation.generators.served.RETRIES", 0)
    with pytest.raises(UserError, match=r"no connection.*generator.base_url"):
        OpenAIGenerator(base_url=url, model="tiny").identity()


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({}, r"generator.base_url=.*generator.model=NAME"),
        ({"base_url": "localhost:8000", "model": "m"}, r"generator.base_url=localhost:8000: expected http"),
        ({"base_url": "http://me:secret@host/v1", "model": "m"}, "OPENAI_API_KEY"),
        ({"base_url": "http://host/v1", "model": "m", "extra_body": {"temperature": 1}}, "extra_body has temperature"),
        ({"base_url": "http://host/v1", "model": "m", "concurrency": 0}, "generator.concurrency"),
    ],
)
def test_settings_that_are_refused(keys: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        OpenAIGenerator(**keys)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("prompt", "decoding", "key"),
    [
        (Prompt("p", "a", prefill="b"), Decoding(), "benchmark.prefill"),
        (Prompt("p", "a"), Decoding(top_k=2, temperature=1.0), "decoding.top_k"),
        (Prompt("p", "a"), Decoding(repetition_penalty=1.1), "decoding.repetition_penalty"),
    ],
)
def test_a_strict_server_gets_nothing_that_it_refuses(
    server: Served, prompt: Prompt, decoding: Decoding, key: str
) -> None:
    made = generator(server, extensions=False)
    answers(made, [Prompt("p", "a")])
    assert set(server.asked[0]) == {"model", "messages", "max_tokens", "temperature", "top_p"}
    with pytest.raises(UserError, match=rf"{key}.*generator.extensions"):
        answers(made, [prompt], decoding)
