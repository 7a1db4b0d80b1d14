"""Names of categories and defects: any that a folder can have, with a safe form where less is allowed."""

import hashlib
import re
import unicodedata
from pathlib import Path

MAX_BYTES = 160
"""Of a name in UTF-8; it is part of longer file names, of which file systems allow 255."""


def check_folder_name(name: str) -> str:
    """Return `name` if a folder can be called so; ValueError otherwise."""
    if not name or re.search(r"[/\\\x00-\x1f\x7f]|^[.\s]|\s$", name) or len(name.encode()) > MAX_BYTES:
        raise ValueError(
            "expected the name of one folder: without / and \\, no dot or space in front, no space at the end, "
            f"at most {MAX_BYTES} bytes"
        )
    return name


def safe_name(name: str) -> str:
    """Return a name of letters, digits, `_`, `-` and `.` alone; one that is so already is itself.

    Others lose what is not ASCII and get a digest, so that no two are alike.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        return name
    kept = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", kept).strip("-.")
    return f"{words or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def printable(text: str) -> str:
    """Return a text as a terminal may print it: characters that control one, or turn letters around, as escapes.

    Names of files can hold any; line feeds and tabs stay.
    """
    return re.sub(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]",
        lambda found: found[0].encode("unicode_escape").decode(),
        text,
    )


def drawn_name(name: str) -> str:
    """Return a name as it is drawn into pictures, by fonts that have Latin letters: others give its safe form."""
    return name if all(letter < "\u0250" for letter in name) else safe_name(name)


def folder_named(parent: Path, name: str) -> Path:
    """Return the folder of that name in `parent`, also where its name is written in another form of Unicode.

    macOS writes an umlaut as two characters, of which nothing is to be seen. Where there is none it is `parent / name`.
    """
    folder = parent / name
    if name.isascii() or folder.exists() or not parent.is_dir():
        return folder
    wanted = unicodedata.normalize("NFC", name)
    same = (path for path in sorted(parent.iterdir()) if unicodedata.normalize("NFC", path.name) == wanted)
    return next(same, folder)
