from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.evaluation.generators.decode import decode
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.samples import Decoding, Prompt, Sample, generate_samples, samples_key
from src.utils.errors import UserError
from tests.evaluation.generators.tiny import tiny_model, tiny_tokenizer

PROMPTS = [Prompt(f"t{number}", "word " * (number % 7) + str(number)) for number in range(20)]
GREEDY = Decoding(max_new_tokens=24)


def generator(token_budget: int = 65_536) -> HFGenerator:
    made = HFGenerator(device="cpu", token_budget=token_budget)
    made.attach(tiny_model(), tiny_tokenizer(), "weights")
    return made


def by_id(samples: list[Sample]) -> dict[tuple[str, int], Sample]:
    return {(sample.task_id, sample.index): sample for sample in samples}


@pytest.mark.parametrize("decoding", [GREEDY, Decoding(max_new_tokens=24, temperature=0.9, samples=3, top_p=0.95)])
def test_batch_size_and_order_change_nothing(decoding: Decoding) -> None:
    whole = by_id(list(generator().generate(PROMPTS, decoding)))
    assert len(whole) == 20 * decoding.samples
    assert by_id(list(generator(token_budget=1).generate(PROMPTS[::-1], decoding))) == whole
    assert by_id(list(generator(token_budget=300).generate(PROMPTS[5:9], decoding))) == {
        pair: sample for pair, sample in whole.items() if pair[0] in {"t5", "t6", "t7", "t8"}
    }


def test_samples_of_one_prompt_differ_and_follow_the_seed() -> None:
    drawn = {
        seed: [
            sample.completion for sample in generator().generate(PROMPTS[:1], Decoding(24, 1.0, samples=4, seed=seed))
        ]
        for seed in (0, 1)
    }
    assert len(set(drawn[0])) == 4
    assert drawn[0] != drawn[1]


def test_completion_has_no_end_token_and_no_stop_string() -> None:
    whole = by_id(list(generator().generate(PROMPTS, GREEDY)))
    assert {sample.finish for sample in whole.values()} == {"end", "length"}
    assert not any("<|im_end|>" in sample.completion for sample in whole.values())
    assert all(sample.tokens == 24 for sample in whole.values() if sample.finish == "length")
    longest = max(whole.values(), key=lambda sample: len(sample.completion))
    stop = longest.completion[3:5]
    cut = by_id(list(generator().generate(PROMPTS, Decoding(24, stop=(stop,)))))
    for pair, sample in cut.items():
        assert sample.completion == whole[pair].completion.partition(stop)[0]
        assert (sample.finish == "stop") == (stop in whole[pair].completion)
    assert cut[longest.task_id, 0].tokens < longest.tokens


def test_answers_shrink_to_what_the_context_holds() -> None:
    samples = list(generator().generate([Prompt("long", "x" * 200)], Decoding(max_new_tokens=200)))
    ids = tiny_tokenizer()(samples[0].prompt, add_special_tokens=False)["input_ids"]
    assert samples[0].tokens <= 256 - len(ids)


def test_a_prompt_that_fills_the_context_gets_an_empty_answer() -> None:
    samples = list(generator().generate([Prompt("short", "x"), Prompt("long", "x" * 300)], GREEDY))
    assert [(sample.task_id, sample.completion, sample.finish) for sample in samples][:1] == [("long", "", "context")]
    assert [sample.task_id for sample in samples] == ["long", "short"]


def test_checkpoint_is_read_and_fingerprinted(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = HFGenerator(device="cpu")
    loaded.load(tmp_path)
    assert list(loaded.generate(PROMPTS[:4], GREEDY)) == list(generator().generate(PROMPTS[:4], GREEDY))
    before = loaded.identity()
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    model.save_pretrained(tmp_path)
    loaded.load(tmp_path)
    after = loaded.identity()
    assert before["weights"] != after["weights"]
    assert {**before, "weights": ""} == {**after, "weights": ""}
    with pytest.raises(UserError, match="no checkpoint"):
        loaded.load(tmp_path / "absent")


def test_full_memory_halves_the_batch_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = by_id(list(generator().generate(PROMPTS, GREEDY)))

    def short_of_memory(model, prompts, *arguments, **options):  # type: ignore[no-untyped-def]
        for number, answer in enumerate(decode(model, prompts, *arguments, **options)):
            if number == 3 and len(prompts) > 4:
                raise torch.OutOfMemoryError
            yield answer

    monkeypatch.setattr("src.evaluation.generators.hf.decode", short_of_memory)
    assert by_id(list(generator().generate(PROMPTS, GREEDY))) == whole


def test_a_prompt_that_alone_fills_the_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments, **options):  # type: ignore[no-untyped-def]
        raise torch.OutOfMemoryError

    monkeypatch.setattr("src.evaluation.generators.hf.decode", no_memory)
    with pytest.raises(UserError, match="prompt t0 alone exceeds the memory of cpu"):
        list(generator().generate(PROMPTS[:1], GREEDY))


def test_interrupted_generation_resumes(tmp_path: Path) -> None:
    decoding = Decoding(max_new_tokens=24, temperature=0.7, samples=2)
    key = samples_key(generator().identity(), PROMPTS, decoding, "content")
    whole = generate_samples(generator(), PROMPTS, decoding, tmp_path / "whole", key)

    class Killed(HFGenerator):
        asked = 0

        def generate(self, prompts, decoding, skip=frozenset()):  # type: ignore[no-untyped-def]
            for number, sample in enumerate(super().generate(prompts, decoding, skip)):
                if number == 15:
                    raise KeyboardInterrupt
                self.asked += 1
                yield sample

    killed = Killed(device="cpu", token_budget=800)
    killed.attach(tiny_model(), tiny_tokenizer(), "weights")
    with pytest.raises(KeyboardInterrupt):
        generate_samples(killed, PROMPTS, decoding, tmp_path / "parts", key)
    path = tmp_path / "parts" / f"{key}.jsonl"
    with path.open("a") as file:
        file.write('{"task_id": "t3", "comp')  # half a line, as kill -9 may leave it
    with pytest.raises(KeyboardInterrupt):
        generate_samples(killed, PROMPTS, decoding, tmp_path / "parts", key)
    assert generate_samples(killed, PROMPTS, decoding, tmp_path / "parts", key) == whole
    assert killed.asked == 40, "nothing may be generated twice"


@pytest.mark.gpu
@pytest.mark.parametrize("decoding", [GREEDY, Decoding(max_new_tokens=24, temperature=0.9, repetition_penalty=1.1)])
def test_answers_on_a_gpu_equal_those_on_the_cpu_in_float32(decoding: Decoding) -> None:
    gpu = HFGenerator(device="cuda", dtype="float32")
    gpu.attach(tiny_model(), tiny_tokenizer(), "weights")
    assert by_id(list(gpu.generate(PROMPTS, decoding))) == by_id(list(generator().generate(PROMPTS, decoding)))
