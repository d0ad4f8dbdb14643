from __future__ import annotations

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from src.data.examples import Example
from src.data.tokenize import LengthReport, tokenize, truncated_lengths
from src.data.turns import chat_texts
from src.utils.errors import UserError
from tests.data.shared import needs_shared, shared
from tests.lit_modules import tiny

ROW = Example("7", "codegen", "Add", "a+b")
PROMPT = [257, *b"user\nAdd", 258, *b"\n", 257, *b"assistant\n"]
ANSWER = [*b"a+b", 258]


def bytes_of(table_row: list[int]) -> list[int]:
    """Ids of the tiny tokenizer as bytes: its alphabet is sorted by letter, not by byte."""
    alphabet = tiny.tokenizer().convert_tokens_to_ids
    letters = {alphabet(chr(byte) if byte > 32 else chr(256 + byte)): byte for byte in range(127)}
    return [letters.get(token, token) for token in table_row]


def test_chatml_token_by_token() -> None:
    table, report = tokenize([ROW], tiny.tokenizer(), 64)
    tokens, labels = table.row(0)
    assert bytes_of(tokens.tolist()) == PROMPT + ANSWER
    assert bytes_of(labels.tolist()) == [-100] * len(PROMPT) + ANSWER
    assert (table.answer_lengths.tolist(), table.ids) == ([4], ("7",))
    assert report == LengthReport(1)


def test_system_turn_goes_first() -> None:
    before, answer = chat_texts(Example("0", "t", "Q", "A", system="S"), tiny.tokenizer())
    assert before == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    assert answer == "A<|im_end|>"


def test_raw_document_is_trained_on_whole() -> None:
    table, _ = tokenize([Example("0", "base", None, "ab")], tiny.tokenizer(template=None), 64)
    tokens, labels = table.row(0)
    assert bytes_of(tokens.tolist()) == [*b"ab", 258]
    assert bytes_of(labels.tolist()) == [-100, *b"b", 258]  # nothing predicts the first token
    assert table.answer_lengths.tolist() == [2]


def test_answer_may_hold_the_end_token() -> None:
    """Only the last end token is the answer's end."""
    assert chat_texts(Example("0", "t", "Q", "x<|im_end|>y"), tiny.tokenizer())[1] == "x<|im_end|>y<|im_end|>"


@pytest.mark.parametrize(
    ("prompt", "answer", "limit", "kept"),
    [
        (10, 10, 20, (10, 10)),  # fits
        (90, 10, 50, (40, 10)),  # a short answer stays whole
        (10, 90, 50, (10, 40)),  # a short prompt stays whole
        (60, 40, 50, (30, 20)),  # two long ones share 3:2
        (100, 25, 50, (40, 10)),  # exactly half the limit is no longer short
    ],
)
def test_truncation_by_hand(prompt: int, answer: int, limit: int, kept: tuple[int, int]) -> None:
    assert truncated_lengths(prompt, answer, limit) == kept


def test_truncation_never_exceeds_the_limit() -> None:
    for prompt in range(0, 40, 3):
        for answer in range(1, 40, 3):
            kept = truncated_lengths(prompt, answer, 16)
            assert sum(kept) == min(16, prompt + answer)
            assert kept[0] <= prompt
            assert kept[1] <= answer


def test_what_is_cut_and_dropped_is_counted() -> None:
    rows = [ROW, Example("long answer", "t", "Q", "x" * 99), Example("long prompt", "t", "Q" * 99, "x")]
    table, report = tokenize(rows, tiny.tokenizer(), 60, "truncate")
    assert report == LengthReport(3, truncated_prompts=1, truncated_answers=1)
    assert table.lengths.tolist() == [len(PROMPT + ANSWER), 60, 60]
    assert str(report) == "3 rows, 1 prompts truncated, 1 answers truncated, 0 dropped"
    table, report = tokenize(rows, tiny.tokenizer(), 60, "drop")
    assert (table.ids, report) == (("7",), LengthReport(3, dropped=2))
    assert report + LengthReport(1, 2, 3, 4) == LengthReport(4, 2, 3, 6)
    left_out = LengthReport(1, left_out={"a": 1}) + LengthReport(1, left_out={"a": 2, "b": 3})
    assert left_out.left_out == {"a": 3, "b": 3}


def test_a_long_question_is_cut_and_the_template_stays_whole() -> None:
    row = Example("0", "t", "Q" * 99, "x")
    table, report = tokenize([row], tiny.tokenizer(), 60)
    tokens, labels = table.row(0)
    fixed = [257, *b"user\n"], [258, *b"\n", 257, *b"assistant\n"]
    question = [*b"Q"] * (60 - 2 - sum(map(len, fixed)))
    assert bytes_of(tokens.tolist()) == [*fixed[0], *question, *fixed[1], *b"x", 258]
    assert bytes_of(labels.tolist())[-3:] == [-100, *b"x", 258]
    assert report == LengthReport(1, truncated_prompts=1)
    table, _ = tokenize([row], tiny.tokenizer(), 60, "truncate_end")  # the study's: the header goes first
    assert bytes_of(table.row(0)[0].tolist()) == [*fixed[0], *[*b"Q"] * 52, *b"x", 258]


def test_a_long_row_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    monkeypatch.setattr("src.data.tokenize.chat_texts", lambda *row: rendered.append(row) or chat_texts(*row))
    _, report = tokenize([Example("0", "t", "Q" * 90, "A")], tiny.tokenizer(), 64)
    assert (report.truncated_prompts, len(rendered)) == (1, 1)


def test_a_limit_without_room_for_the_question_drops_the_row() -> None:
    table, report = tokenize([ROW], tiny.tokenizer(), len(PROMPT + ANSWER) - 2)
    assert bytes_of(table.row(0)[0].tolist()) == [257, *b"user\nA", *PROMPT[9:], *ANSWER]
    assert report == LengthReport(1, truncated_prompts=1)
    table, report = tokenize([ROW], tiny.tokenizer(), len(PROMPT + ANSWER) - 3)
    assert (len(table), report) == (0, LengthReport(1, dropped=1))


def test_text_that_looks_like_a_control_token_stays_text() -> None:
    """ChatML's end inside a question or an answer would end the turn there."""
    row = Example("0", "t", "<|im_end|> a <|im_start|>", "b<|im_end|>c", system="<|im_end|>")
    table, report = tokenize([row], tiny.tokenizer(), 200)
    tokens, labels = table.row(0)
    text = bytes_of(tokens.tolist())
    assert text == [
        257, *b"system\n<|im_end|>", 258, *b"\n", 257, *b"user\n<|im_end|> a <|im_start|>", 258, *b"\n",
        257, *b"assistant\nb<|im_end|>c", 258,
    ]  # fmt: skip
    assert bytes_of(labels.tolist())[-13:] == [*b"b<|im_end|>c", 258]
    assert report == LengthReport(1, control_text=1)
    assert "1 with control tokens in their text" in str(report)


def test_fingerprint_sees_tokens_and_masks() -> None:
    tables = [tokenize([Example("0", "t", prompt, answer)], tiny.tokenizer(), 64)[0] for prompt, answer in
              (("ab", "c"), ("ab", "d"), ("ab", "c"))]  # fmt: skip
    assert tables[0].fingerprint() == tables[2].fingerprint() != tables[1].fingerprint()


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (tiny.tokenizer(template=None), "no chat template.*model.chat_template"),
        (tiny.tokenizer(eos=None), "no end token; set model.eos_token"),
        (tiny.tokenizer(eos="<|endoftext|>"), r"row 7: .*<\|im_end\|>\\n', not with .*'<\|endoftext\|>'"),
        (tiny.tokenizer(template="{{ messages | length }}"), "row 7: .*renders the prompt differently"),
    ],
)
def test_unfit_tokenizers(tokenizer: PreTrainedTokenizerBase, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tokenize([ROW], tokenizer, 64)


def test_unknown_rule() -> None:
    with pytest.raises(UserError, match=r"unknown truncation 'trunc'.*did you mean 'truncate'"):
        tokenize([ROW], tiny.tokenizer(), 9, "trunc")


QWEN_BEFORE = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nAdd {a}\n<|im_end|>\n<|im_start|>assistant\n"
)
DEEPSEEK_BEFORE = (
    "<｜begin▁of▁sentence｜>You are an AI programming assistant, utilizing the Deepseek Coder model, developed by "
    "Deepseek Company, and you only answer questions related to computer science. For politically sensitive questions, "
    "security and privacy issues, and other non-computer science questions, you will refuse to answer\n"
    "### Instruction:\nAdd {a}\n\n### Response:\n"
)


@needs_shared
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "before", "answer", "end"),
    [
        ("qwen2.5-7b-instruct", QWEN_BEFORE, "a + b\n<|im_end|>", 151645),
        ("deepseek-coder-6.7b-instruct", DEEPSEEK_BEFORE, "a + b\n\n<|EOT|>", 32021),
    ],
)
def test_real_templates_token_by_token(name: str, before: str, answer: str, end: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared("data", "tokenizers", name))
    table, _ = tokenize([Example("0", "codegen", "Add {a}\n", "a + b\n")], tokenizer, 4096)
    tokens, labels = (array.tolist() for array in table.row(0))
    prompt = tokenizer(before, add_special_tokens=False).input_ids
    assert tokens[: len(prompt)] == prompt
    assert labels == [-100] * len(prompt) + tokens[len(prompt) :]
    assert tokenizer.decode(tokens[len(prompt) :]) == answer
    assert tokens[-1] == end == tokenizer.eos_token_id
    generation = tokenizer.apply_chat_template([{"role": "user", "content": "Add {a}\n"}], add_generation_prompt=True)
    assert generation["input_ids"] == prompt
    marks = "<|im_end|> <|fim_middle|> <｜fim▁hole｜> <|EOT|> <｜begin▁of▁sentence｜>"
    row = Example("0", "codegen", marks, marks)
    table, report = tokenize([row], tokenizer, 4096)
    tokens = table.row(0)[0].tolist()
    plain = tokenizer(chat_texts(Example("0", "codegen", "", ""), tokenizer)[0], add_special_tokens=False).input_ids
    control = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    assert sum(token in control for token in tokens) == sum(token in control for token in plain) + 1
    assert tokenizer.decode(tokens).count(marks) == 2
    assert report.control_text == 1
    long, _ = tokenize([Example("0", "codegen", "word " * 99, "a")], tokenizer, len(prompt) + 50)
    before = tokenizer.decode(long.row(0)[0][: int(long.prompts[0])])
    assert before.endswith(chat_texts(Example("0", "codegen", "", ""), tokenizer)[0][-15:])
    assert 30 < before.count("word") < 99
