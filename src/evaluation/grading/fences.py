"""Code blocks of a Markdown text, as CommonMark defines them and as models write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PYTHON = r"(?:python|py)[\d.]*"
# After list markers or quotation marks; three or more backticks or tildes; the info string.
_OPENING = re.compile(r"(?P<lead>[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_OPENING_AFTER_TEXT = re.compile(rf".*[^`\s][ \t]*(?P<fence>`{{3,}})(?P<info>{_PYTHON})[ \t]*", re.IGNORECASE)
_ONE_LINE = re.compile(rf"(`{{3,}})[ \t]*(?:{_PYTHON}\b)?[ \t]*([^`\n]*[^`\s])[ \t]*\1(?!`)", re.IGNORECASE)
_CODE = re.compile(
    rf"(?:{_PYTHON}\b)?[ \t]*((?:async[ \t]+def|def|class|from|import|return|if|for|while|try|with)\b.*|@\w.*"
    r"|\w+ = .*)",
    re.IGNORECASE,
)
_BLOCK_NAMES = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=[^=]", re.MULTILINE)
_BLOCK_IMPORTS = re.compile(r"^(?:from[ \t]+\S+[ \t]+)?import[ \t]+(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class CodeBlock:
    """A code block.

    Attributes:
        text: Its lines, each with a line break, less the indentation of the fence.
        closed: It has a closing fence; False: the text ends first.
        language: First word after the opening fence, in lower case; empty: none, or code.
    """

    text: str
    closed: bool
    language: str = ""


def code_blocks(text: str) -> list[CodeBlock]:
    """Find the code blocks of a Markdown text, in order.

    A block opens with three or more backticks or tildes and closes with at least as many of the same. The opening may
    follow a list marker, a quotation mark, or (with a language) other text. The code may begin on the line of the
    opening and end on that of the closing.
    """
    blocks: list[CodeBlock] = []
    open_block: _OpenBlock | None = None
    for line in text.replace("\r\n", "\n").split("\n"):
        if open_block is None:
            one_line = [CodeBlock(code + "\n", True) for _, code in _ONE_LINE.findall(line)]
            blocks += one_line
            open_block = None if one_line else _opened(line)
        elif open_block.closes(line):
            blocks.append(CodeBlock(open_block.text(), True, open_block.language))
            open_block = None
        else:
            open_block.add(line)
    if open_block is not None:
        blocks.append(CodeBlock(open_block.text().removesuffix("\n"), False, open_block.language))
    return blocks


def widest_block(text: str) -> str:
    """Return the lines between the first and the last fence: a block whose code holds fences in its docstring."""
    lines = text.replace("\r\n", "\n").split("\n")
    fences = [number for number, line in enumerate(lines) if _opened(line) is not None]
    if len(fences) < 3:
        return ""
    opened = _opened(lines[fences[0]])
    assert opened is not None
    for line in lines[fences[0] + 1 : fences[-1]]:
        opened.add(line)
    return opened.text()


def with_helpers(blocks: Sequence[CodeBlock], index: int) -> str:
    """Return a block after those earlier blocks that define or import a name that it uses but does not define."""
    needed = [blocks[index].text]
    known = _names(blocks[index].text)
    for block in reversed(blocks[:index]):
        new = _names(block.text) - known
        if any(re.search(rf"(?<![\w.]){name}\b", text) for name in new for text in needed):
            needed.insert(0, block.text)
            known |= new
    return "\n".join(needed)


def _names(code: str) -> set[str]:
    defined = {name for pair in _BLOCK_NAMES.findall(code) for name in pair if name}
    imported = {part.split()[-1] for line in _BLOCK_IMPORTS.findall(code) for part in line.split(",") if part.split()}
    return defined | {name.partition(".")[0] for name in imported if name.replace(".", "").isidentifier()}


class _OpenBlock:
    """A block whose closing fence has not come yet."""

    def __init__(self, lead: str, fence: str, first: str, language: str = "") -> None:
        self.quoted = ">" in lead
        self.indent = len(lead.expandtabs(4)) if not self.quoted else 0
        self.fence = fence
        self.lines = [first] if first else []
        self.language = language.lower()

    def closes(self, line: str) -> bool:
        """Return True if the line is or ends with the closing fence; code before it is added to the block."""
        inner = self._inner(line).rstrip()
        bare = inner.lstrip(" \t")
        mark = self.fence[0]
        if len(bare) >= len(self.fence) and set(bare) == {mark}:
            return len(inner) - len(bare) <= 3  # further in, it is a line of the code (of a docstring, say)
        code = inner.rstrip(mark)
        if mark == "`" and len(inner) - len(code) >= len(self.fence) and "`" not in code and "#" not in code:
            self.lines.append(code)
            return True
        return False

    def add(self, line: str) -> None:
        self.lines.append(self._inner(line))

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def _inner(self, line: str) -> str:
        """Remove the quotation mark, or up to as much indentation as the fence has."""
        if self.quoted:
            return re.sub(r"^[ \t]*> ?", "", line)
        spaces = len(line) - len(line.lstrip(" "))
        return line[min(spaces, self.indent) :]


def _opened(line: str) -> _OpenBlock | None:
    found = _OPENING.fullmatch(line)
    if found is None:
        after = _OPENING_AFTER_TEXT.fullmatch(line)
        return None if after is None else _OpenBlock("", after["fence"], "", after["info"])
    info = found["info"].strip()
    if found["fence"][0] == "`" and "`" in info:
        return None  # inline code
    code = _CODE.fullmatch(info)
    language = info.split()[0] if info and code is None else ""
    return _OpenBlock(found["lead"], found["fence"], code[1] if code else "", language)
