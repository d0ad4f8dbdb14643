"""Programs as highlighted HTML, with anything that a page would obey or hide made visible."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

from markupsafe import Markup, escape
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound

from src.reporting.format import visible

# The first type that contains a token's gives its class; names are short, since a page has thousands of them.
CLASSES = (
    (Comment, "c"),
    (String, "s"),
    (Number, "m"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "f"),
    (Name.Builtin, "b"),
)


def highlight(code: str, language: str = "python") -> Markup:
    """Highlight a program.

    Args:
        code: Its text; it need not be valid.
        language: Name that Pygments knows; others are shown plain.

    Returns:
        Escaped text with `<span class="...">` around tokens of `CLASSES`.
    """
    lexer = _lexer(language)
    if lexer is None:
        return escape(visible(code))
    tokens = ((_class(kind), text) for kind, text in lexer.get_tokens(visible(code)))
    runs = ((name, "".join(text for _, text in group)) for name, group in groupby(tokens, key=lambda token: token[0]))
    return Markup().join(
        Markup('<span class="{}">{}</span>').format(name, text) if name else escape(text) for name, text in runs
    )


@lru_cache
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _class(kind: object) -> str:
    return next((name for parent, name in CLASSES if kind in parent), "")
