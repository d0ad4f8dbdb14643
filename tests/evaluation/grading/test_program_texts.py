"""Programs of answers: which block is the program, and where a continuation ends."""

from src.evaluation.grading.program_texts import before, continuations, whole_programs

JS = ("javascript", "js")


def test_the_last_complete_block_in_the_language_is_the_program():
    text = (
        "Plan:\n```js\nfirst\n```\nFixed:\n```JS\nsecond\n```\nInput:\n```\n3\n4\n```\n"
        "Other:\n```text\nwords\n```\nCut:\n```js\nthird"
    )
    assert whole_programs(text, JS) == ("second\n", "first\n", "3\n4\n", "words\n", "third", text)
    assert whole_programs("plain", JS) == ("plain",)


def test_a_continuation_ends_before_the_first_stop_string():
    prompt, stop = "function f(a){\n", ("\nfunction ", "\n//")
    assert continuations("  return a;\n}\n// end\nfunction g(){}", prompt, stop, JS) == (prompt + "  return a;\n}",)
    assert before("abc", ()) == "abc"
    assert before("abc", ("", "c", "b")) == "a"


def test_a_block_continues_where_it_repeats_the_prompts_last_line():
    prompt, stop = "//adds\nfunction f(a, b){\n", ("\nfunction ", "\n//")
    whole = "```js\n//adds\nfunction f(a,b) {\n  return a + b;\n}\n//usage\nf(1, 2)\n```"
    assert continuations(whole, prompt, stop, JS)[0] == prompt + "  return a + b;\n}"
    body = "```js\n  return a + b;\n}\n```"
    assert continuations(body, prompt, stop, JS)[0] == prompt + "  return a + b;\n}\n"
