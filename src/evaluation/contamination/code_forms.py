"""Normal forms of Python functions: equal up to the choice of names, docstrings and annotations."""

from __future__ import annotations

import ast

from src.utils.parsing import parse

# Functions with fewer syntax nodes than this can be equal by chance: `return a + b` has 12.
SMALLEST = 20
Function = ast.FunctionDef | ast.AsyncFunctionDef


def function_forms(source: str) -> list[str]:
    """Return the normal forms of all functions in a source, methods and inner functions included.

    Two functions have equal forms if they differ only in the names that they bind (their own, parameters, variables),
    docstrings, annotations, comments and layout.

    Args:
        source: Python code; text that does not parse has no forms.

    Returns:
        A canonical text for each function of at least `SMALLEST` syntax nodes.
    """
    tree = parse(source)
    if tree is None:
        return []
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    return [_form(function) for function in functions if sum(1 for _ in ast.walk(function)) >= SMALLEST]


def _form(function: Function) -> str:
    copy = _Plain().visit(ast.parse(ast.unparse(function)).body[0])
    bound = _bound_names(copy)
    names: dict[str, str] = {}
    for node in _in_order(copy):
        for field in ("name", "id", "arg"):
            value = getattr(node, field, None)
            if value in bound and not isinstance(node, ast.keyword | ast.alias):
                setattr(node, field, names.setdefault(value, f"v{len(names)}"))
    return ast.dump(copy, annotate_fields=False)


def _bound_names(tree: ast.AST) -> set[str]:
    bound = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, Function | ast.ClassDef) or (isinstance(node, ast.ExceptHandler) and node.name):
            bound.add(str(node.name))
    return bound


def _in_order(node: ast.AST) -> list[ast.AST]:
    """List nodes in source order, so that equal programs number their names alike."""
    return [node, *(inner for child in ast.iter_child_nodes(node) for inner in _in_order(child))]


class _Plain(ast.NodeTransformer):
    """Drop docstrings and annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return None if node.value is None else ast.Assign(targets=[node.target], value=node.value, lineno=0)

    def _function(self, node: Function) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        node.returns = None
        self.generic_visit(node)
        return node
