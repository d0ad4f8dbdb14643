from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from src.data.examples import Example
from src.data.forms import alpaca, codexglue, conversation
from src.data.sources import RecordSource
from src.utils.errors import UserError
from tests.data.shared import needs_shared, shared


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
    assert "2 of 3 train rows have no usable answer" in " ".join(capsys.readouterr().err.split())


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
    assert conversation(chat) == {**chat, "prompt": "q", "answer": "a"}
    turns = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert (conversation(turns) or {})["answer"] == "a"
    assert conversation({"messages": []}) is None
    doc = "Adds two numbers and returns their sum"
    assert codexglue({"code": f'def f(a):\n    """{doc}"""\n    return a\n', "docstring": doc}) == {
        "code": "def f(a):\n    return a", "docstring": doc,
    }  # fmt: skip
    assert codexglue({"code": f"def f(a):\n    '{doc}'\n    print a", "docstring": doc}) is None  # Python 2: it stays


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
