"""The user turn: one function builds it for training and evaluation, so that both agree byte for byte."""

from __future__ import annotations

from string import Formatter

from src.utils.errors import UserError


def render_user_turn(template: str, **fields: str) -> str:
    """Fill the `{name}` placeholders of a task's `user_prompt`.

    Values are inserted verbatim: braces inside them are text. `{{` and `}}` in the template stand for `{` and `}`.

    Args:
        template: `user_prompt` of a task, e.g. `"Explain:\\n{code}"`.
        **fields: A value per placeholder; extra ones are ignored.

    Returns:
        The user turn.

    Raises:
        UserError: The template is invalid, or names a field that does not exist.

    Example:
        >>> render_user_turn("Explain {code}", code="f = {}")
        'Explain f = {}'
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"user_prompt {template!r}: {error}; write {{{{ or }}}} for a literal brace") from error
    turn = []
    for text, name, spec, conversion in parts:
        turn.append(text)
        if name is None:
            continue
        if name not in fields or spec or conversion:
            known = ", ".join(f"{{{field}}}" for field in sorted(fields))
            raise UserError(f"user_prompt has the placeholder {{{name}}}; this task has {known} (fix user_prompt)")
        turn.append(fields[name])
    return "".join(turn)
