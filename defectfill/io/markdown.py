"""Names and sentences in Markdown: what folders and files are called stays text, whatever is in it."""

import re

_MARKS = re.compile(r"([\\`*|]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[:])")
"""What makes code, emphasis, cells of a table and links; `_` between letters does not."""


def plain(text: str) -> str:
    """Return a text as Markdown that shows just that, within a line: no tags, code, emphasis, links or cells in it."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;"))


def code(text: str) -> str:
    """Return a text of one line as a code span, fenced by more backticks than it has side by side."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    padding = " " if "`" in text else ""
    return f"{fence}{padding}{text}{padding}{fence}"
