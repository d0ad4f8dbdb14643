from markupsafe import Markup

from src.reporting.highlight import highlight


def test_tokens_have_classes_and_everything_is_escaped():
    found = highlight('def f(x):\n    return "<b>" + 1  # & so on\n')
    assert '<span class="k">def</span> <span class="f">f</span>(x)' in found
    assert '<span class="s">&#34;&lt;b&gt;&#34;</span> + <span class="m">1</span>' in found
    assert '<span class="c"># &amp; so on</span>' in found


def test_the_text_is_unchanged_except_for_what_a_page_would_hide():
    code = "\n\n  x = (\n\ty :=\n</script>\n"
    assert Markup(highlight(code)).striptags() == Markup.escape(code).striptags()
    assert Markup(highlight(code)).unescape().replace("<span", "").count("\n") == code.count("\n")
    assert "\\u202e" in highlight("if admin\u202e: pass")  # reversed text, arXiv 2111.00169


def test_other_languages_and_unknown_ones():
    assert '<span class="k">function</span>' in highlight("function f() {}", "javascript")
    assert highlight("<a>", "no such language") == "&lt;a&gt;"
