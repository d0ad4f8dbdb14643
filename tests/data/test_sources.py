from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from src.data.cache import token_table
from src.data.examples import Example, Unusable
from src.data.forms import alpaca, codexglue, conversation
from src.data.shards import Tokenization
from src.data.sources import RecordSource
from src.utils.errors import UserError
from tests.data.shared import needs_shared, shared
from tests.lit_modules import tiny


def source(tmp_path: Path, rows: list[dict[str, Any]], **changes: Any) -> RecordSource:
    path = tmp_path / "rows_train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = {"task": "t", "data": str(tmp_path / "rows_{split}.jsonl"), "user_prompt": "Q: {prompt}", "answer": "a"}
    return RecordSource(**{**settings, **changes})


def test_fields_by_name(tmp_path: Path) -> None:
    rows = [{"q": "x {y}", "a": "1", "n": 7}]
    found = source(tmp_path, rows, fields={"prompt": "q"}, id="n").examples("train")
    assert found == [Example("7", "t", "Q: x {y}", "1")]


def test_an_id_may_be_a_text_with_fields(tmp_path: Path) -> None:
    [row] = source(tmp_path, [{"prompt": "x", "a": "1", "n": 7}], id="Mbpp/{n}").examples("train")
    assert row.id == "Mbpp/7"
    with pytest.raises(UserError, match=r"row 1: no field 'm'; available: a, n, prompt"):
        source(tmp_path, [{"prompt": "x", "a": "1", "n": 7}], id="Mbpp/{m}").examples("train")


def test_a_row_without_an_id_is_named_by_its_place(tmp_path: Path) -> None:
    [row] = source(tmp_path, [{"prompt": "x", "a": "1"}]).examples("train")
    assert row.id == f"{tmp_path}/rows_train.jsonl, row 1"


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        ({"a": "1"}, {}, r"row 2: no field 'prompt'; available: a \(fix fields"),
        ({"prompt": "x"}, {}, r"row 2: no field 'a'; available: prompt"),
        ({"prompt": 3, "a": "1"}, {}, r"row 2, field 'prompt': expected text, got int 3"),
        ({"prompt": "x", "a": ["1"]}, {}, r"row 2, field 'a': expected text, got list"),
        (
            {"instruction": 3, "a": "1"},
            {"fields": {"prompt": "instruction"}},
            r"row 2, field 'instruction': expected text, got int 3",
        ),
        ({"prompt": "x", "a": "1"}, {"form": alpaca}, r"row \d: no field 'instruction'"),
        ({"code": 5, "docstring": "d", "prompt": "x", "a": "1"}, {"form": codexglue}, r"row \d: (no|a) field"),
    ],
)
def test_row_and_field_are_named(tmp_path: Path, row: dict[str, Any], changes: Any, message: str) -> None:
    rows = [{"prompt": "ok", "a": "1", "instruction": "i", "output": "o"}, row]
    with pytest.raises(UserError, match=message):
        source(tmp_path, rows, **changes).examples("train")


def test_what_is_kept(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "a": "x", "n": n, "kind": "odd" if n % 2 else "even"} for n in range(10)]
    found = source(tmp_path, rows, keep={"n": [3, 7], "kind": "odd"}, id="n").examples("train")
    assert [row.id for row in found] == ["3", "5", "7"]
    with pytest.raises(UserError, match=r"no train rows for task t; check keep"):
        source(tmp_path, rows, keep={"n": [30, 70]}).examples("train")


def test_empty_answers_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": "x", "a": answer} for answer in ("1", " \n", None)]
    assert len(source(tmp_path, rows).examples("train")) == 1
    assert "2 of 3 train rows left out: 2 without an answer" in " ".join(capsys.readouterr().err.split())


def test_each_kind_of_unusable_row_is_counted(tmp_path: Path) -> None:
    rows = [{"prompt": q, "a": a} for q, a in (("x", "1"), (None, "1"), (" ", "1"), ("x", ""), ("x", "\ud800"))]
    found = source(tmp_path, rows).examples("train")
    assert [row.answer for row in found] == ["1"]
    assert found.left_out == {
        "without a question": 2, "without an answer": 1, "with text that is not Unicode (a lone surrogate)": 1,
    }  # fmt: skip


def test_counts_reach_the_report_of_the_tokens(tmp_path: Path) -> None:
    rows = source(tmp_path, [{"prompt": "x", "a": answer} for answer in ("1", "")])
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):  # the last one is read from the files
        _, report = token_table(lambda: rows.examples("train"), Tokenization(tiny.tokenizer(), 64), cache=cache)
        assert report.left_out == {"without an answer": 1}


def test_a_null_is_not_kept(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "a": "1", "n": n} for n in (None, "4", 4)]
    assert len(source(tmp_path, rows, keep={"n": [3, 7]}).examples("train")) == 1


def test_copies_stay_on_one_side_and_renamed_files_move_no_rows(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n % 50}", "a": str(n)} for n in range(300)]
    sides = [{row.prompt for row in source(tmp_path, rows, held_out=0.2).examples(s)} for s in ("train", "validation")]
    assert not sides[0] & sides[1]
    assert 3 < len(sides[1]) < 20
    (tmp_path / "rows_train.jsonl").rename(tmp_path / "renamed_train.jsonl")
    renamed = source(tmp_path, rows, held_out=0.2, data=str(tmp_path / "renamed_{split}.jsonl"))
    assert {row.prompt for row in renamed.examples("validation")} == sides[1]


def test_each_row_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("src.data.sources.derive_seed", lambda *words: drawn.append(words) or len(drawn) << 60)
    source(tmp_path, [{"prompt": str(n), "a": "x"} for n in range(5)], held_out=0.5).examples("train")
    assert len(drawn) == 5


@pytest.mark.parametrize("count", [2, 3, 10])
def test_few_rows_have_a_validation_row(tmp_path: Path, count: int) -> None:
    rows = [{"prompt": str(n), "a": "x"} for n in range(count)]
    train, validation = (source(tmp_path, rows, held_out=1e-6).examples(split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (count - 1, 1)


def test_system_turns(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "q"},
                         {"role": "assistant", "content": "a"}]}  # fmt: skip
    [row] = source(tmp_path, [chat], form=conversation, answer="answer").examples("train")
    assert (row.system, row.prompt, row.answer) == ("S", "Q: q", "a")
    [row] = source(tmp_path, [{"prompt": "x", "a": "1", "role": "S"}], system="role").examples("train")
    assert row.system == "S"
    [row] = source(tmp_path, [{"prompt": "x", "a": "1", "system": "not asked for"}]).examples("train")
    assert row.system is None


def test_held_out_rows_are_a_fixed_part(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "a": "x", "n": n} for n in range(1000)]
    whole = source(tmp_path, rows, held_out=0.1, id="n")
    train, validation = ({row.id for row in whole.examples(split)} for split in ("train", "validation"))
    assert train | validation == {str(n) for n in range(1000)}
    assert not train & validation
    assert 70 < len(validation) < 130
    shuffled = source(tmp_path, rows[::-1], held_out=0.1, id="n")
    assert {row.id for row in shuffled.examples("validation")} == validation


def test_limits(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "a": "x", "n": n} for n in range(50)]
    found = source(tmp_path, rows, id="n", limits={"train": 8}).examples("train")
    ids = [int(row.id) for row in found]
    assert len(ids) == 8
    assert ids == sorted(ids) != list(range(8))


def test_the_first_rows_alone_are_read(tmp_path: Path) -> None:
    """Also where the rest of the file would be refused; held-out rows are among them."""
    rows = [{"prompt": str(n), "a": "x", "n": n} for n in range(60)] + [{"prompt": 7}]
    few = source(tmp_path, rows, first={"train": 50}, held_out=0.2, id="n")
    train, validation = (few.examples(split) for split in ("train", "validation"))
    assert len(train) + len(validation) == 50
    assert validation


def test_a_weight_changes_no_row(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "a": "1"}]
    assert source(tmp_path, rows, weight=2.0).fingerprint("train") == source(tmp_path, rows).fingerprint("train")
    for weight in (0.0, -1.0, float("inf")):
        with pytest.raises(UserError, match=r"tasks\.t\.sources\.\*\.weight must be above 0"):
            source(tmp_path, rows, weight=weight)


def test_the_fingerprint_changes_with_data_and_options(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "a": "1"}]
    prints = [source(tmp_path, rows).fingerprint("train"), source(tmp_path, rows, answer="prompt").fingerprint("train"),
              source(tmp_path, rows, form=alpaca).fingerprint("train"),
              source(tmp_path, rows * 2).fingerprint("train")]  # fmt: skip
    assert len(set(prints)) == 4
    assert source(tmp_path, rows).fingerprint("train") == prints[0]


def test_forms_by_hand() -> None:
    assert alpaca({"instruction": "Add", "input": "1 2", "output": "3"})["prompt"] == "Add\n1 2"
    assert alpaca({"instruction": "Add", "input": "", "output": "3"}) | {"input": ""} == {
        "instruction": "Add", "input": "", "output": "3", "prompt": "Add", "answer": "3",
    }  # fmt: skip
    chat = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    assert conversation(chat) == {**chat, "prompt": "q", "answer": "a", "system": None}
    turns = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert conversation(turns)["answer"] == "a"
    greeted = {"messages": [{"role": "assistant", "content": "Hello"}, *turns["messages"]]}
    assert conversation(greeted)["answer"] == "a"  # the greeting answers nothing
    twice = {"messages": [{"role": "user", "content": "first"}, *turns["messages"]]}
    assert conversation(twice)["prompt"] == "q"  # the first has no answer
    for unanswered in ([], turns["messages"][:1], turns["messages"][::-1]):
        with pytest.raises(Unusable, match="without a user turn that an assistant turn follows"):
            conversation({"messages": unanswered})
    doc = "Adds two numbers and returns their sum"
    assert codexglue({"code": f'def f(a):\n    """{doc}"""\n    return a\n', "docstring": doc}) == {
        "code": "def f(a):\n    return a", "docstring": doc,
    }  # fmt: skip
    with pytest.raises(Unusable, match="repeats the docstring"):  # Python 2: it stays
        codexglue({"code": f"def f(a):\n    '{doc}'\n    print a", "docstring": doc})


@needs_shared
def test_no_docstring_leaks_in_six_languages() -> None:
    prompt = "Write.\n```{code}```"
    for name in (
        "python_test_sample1000",
        *(f"{n}_test_sample500" for n in ("java", "go", "javascript", "php", "ruby")),
    ):
        data = shared("data", "codexglue", f"{name}.jsonl.gz")
        rows = RecordSource("codesum", str(data), prompt, "docstring", form=codexglue, id="url").examples("test")
        with gzip.open(data, "rt", encoding="utf-8") as file:
            total = len(file.readlines())
        assert 0.99 * total <= len(rows) <= total
        for row in rows:
            first = row.answer.strip().split("\n")[0]
            if len(first.split()) > 6:
                assert first not in (row.prompt or ""), row.id


@needs_shared
def test_real_files_of_code_generation() -> None:
    kod = [str(shared("data", "kodcode", "KodCode_*.json.gz"))]
    rows = RecordSource(
        "codegen", kod, "{prompt}", "solution", fields={"prompt": "question"}, id="question_id", held_out=0.1
    )
    train, validation = rows.examples("train"), rows.examples("validation")
    assert len(train) + len(validation) == 232
    assert 10 < len(validation) < 40
    chats = RecordSource(
        "codegen", [str(shared("data", "kodcode", "SFT_*.json.gz"))], "{prompt}", "answer", form=conversation
    )
    assert len(chats.examples("train")) == 230
    mbpp = RecordSource(
        "codegen", str(shared("data", "mbpp", "mbpp.jsonl.gz")), "{prompt}", "code",
        fields={"prompt": "text"}, id="task_id", keep={"task_id": [601, 974]},
    ).examples("train")  # fmt: skip
    assert [row.id for row in mbpp] == [str(number) for number in range(601, 975)]
    code_alpaca = RecordSource(
        "codegen", str(shared("data", "instruct", "code_alpaca_2k.json.gz")), "{prompt}", "answer", form=alpaca
    ).examples("train")
    assert len(code_alpaca) >= 2010
