"""EvalPlus's sanitizer, much faster: the longest stretch of lines that parses, reduced to what the entry point needs.

EvalPlus's reduction drops code that right programs need (`runnable_part` lists some), so it serves reproduction only.

This file runs as a program in the sandbox, on untrusted texts, so it imports nothing of ours.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import tree_sitter_python
from tree_sitter import Language, Parser

EFFECTS = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
PARSER = Parser(Language(tree_sitter_python.language()))


def sanitize(text: str, entry_point: str) -> str:
    """Return what `evalplus.sanitize.sanitize` (0.3.1) returns.

    Args:
        text: A model's answer: code, code with prose around it, or a Markdown block.
        entry_point: Name of the requested function; empty: all definitions are needed.

    Returns:
        Imports, then the definitions and assignments that `entry_point` reaches by name; if there are none, the longest
        stretch of lines that parses.
    """
    stretch = longest_valid_stretch(text)
    return needed_parts(stretch, entry_point).strip() or stretch


def runnable_part(text: str, entry_point: str) -> str:
    """Return the longest stretch that parses, without lines of prose that parse, such as `Explanation`.

    Unlike `sanitize`, it keeps everything that a program may need: decorators, loops, functions without `return`. If it
    does not define `entry_point`, the result is that of `sanitize`.
    """
    stretch = longest_valid_stretch(text)
    kept = _without_values(stretch)
    return kept if _defines(kept, entry_point) else needed_parts(stretch, entry_point).strip() or stretch


def _without_values(code: str) -> str:
    """Remove lines that hold nothing but an expression without effect: at best, no code; at worst, a `NameError`."""
    if not _parses(code):
        return code
    removed: set[int] = set()
    for node in ast.parse(code).body:
        if isinstance(node, ast.Expr) and not any(isinstance(inner, EFFECTS) for inner in ast.walk(node)):
            removed |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        else:
            removed -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # several on one line
    return "\n".join(line for number, line in enumerate(code.split("\n"), 1) if number not in removed)


def _defines(code: str, name: str) -> bool:
    if not name or not _parses(code):
        return not name
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name:
            return True
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name) == name:
            return True
    return False


def longest_valid_stretch(text: str) -> str:
    """Find the consecutive lines that parse as Python and have the most non-blank lines; the first one in a tie.

    A stretch has at least two lines; if none parses, it is the first line. EvalPlus parses all stretches; this function
    tries only those that can still win, longest first.
    """
    lines = text.split("\n")
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    best, place = 0, (0, 0)
    for start in range(len(lines)):
        if filled[-1] - filled[start] <= best:
            break
        for end in _ends_by_length(filled, start, best):
            if _parses("\n".join(lines[start:end])):
                best, place = filled[end] - filled[start], (start, end - 1)
                break
    return "\n".join(lines[place[0] : place[1] + 1])


def _ends_by_length(filled: list[int], start: int, best: int) -> Iterator[int]:
    """Yield ends of stretches from `start` with more than `best` non-blank lines: the most first, then the earliest."""
    end = len(filled) - 1
    while end >= start + 2 and filled[end] - filled[start] > best:
        first = end
        while first > start + 2 and filled[first - 1] == filled[end]:
            first -= 1
        yield from range(first, end + 1)
        end = first - 1


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def needed_parts(code: str, entry_point: str) -> str:
    """Select imports and all that `entry_point` reaches by name, in the order of `code`; functions need a `return`."""
    source = code.encode()
    imports: list[Any] = []
    definitions: dict[str | None, Any] = {}
    for node in PARSER.parse(source).root_node.children:
        if node.type in ("import_statement", "import_from_statement"):
            imports.append(node)
            continue
        part = _definition(node)
        if part is not None and (name := _name(part)) not in definitions:
            definitions[name] = part
    uses = {name: _identifiers(node) for name, node in definitions.items()}
    wanted = _reachable(entry_point, uses) if entry_point else set(definitions)
    parts = [*imports, *(node for name, node in definitions.items() if name in wanted)]
    return "\n".join(source[node.start_byte : node.end_byte].decode() for node in parts)


def _definition(node: Any) -> Any:
    if node.type == "class_definition" or (node.type == "function_definition" and _returns(node)):
        return node
    if node.type == "expression_statement" and node.children[0].type == "assignment":
        return node.children[0]
    return None


def _name(node: Any) -> str | None:
    return next((child.text.decode() for child in node.children if child.type == "identifier"), None)


def _returns(node: Any) -> bool:
    return any(inner.type == "return_statement" for inner in _walk(node))


def _identifiers(node: Any) -> set[str]:
    return {inner.text.decode() for inner in _walk(node) if inner is not node and inner.type == "identifier"}


def _walk(node: Any) -> Iterator[Any]:
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack += current.children


def _reachable(entry_point: str, names: dict[str | None, set[str]]) -> set[str | None]:
    waiting: list[str | None] = [entry_point]
    seen: set[str | None] = {entry_point}
    while waiting:
        new = names.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen
