"""Text of TOML files: its encoding, and the characters that editors put in place of TOML's own. No I/O."""

from __future__ import annotations

import codecs
import re

_UTF_8_MARK = codecs.BOM_UTF8
_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_QUOTES = "“”„‟«»‘’‚‛‹›＂＇"  # noqa: RUF001  # these are what is looked for
_SPACES = "\u00a0\u2007\u202f\u3000\u200b\ufeff"


class TextRefused(ValueError):
    """The text of a file cannot be used; the message has the place and the cure."""


def decoded(content: bytes) -> str:
    """The text of a file in UTF-8, without its byte-order mark. Raises TextRefused."""
    if content.startswith(_OTHER_MARKS):
        raise TextRefused("is UTF-16; save the file as UTF-8")
    try:
        return content.removeprefix(_UTF_8_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextRefused(f"byte {error.start} is not UTF-8; save the file as UTF-8") from error


def foreign_character(text: str) -> str | None:
    """The place of the first typographic quote or foreign space outside of strings and comments, with the cure."""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*', lambda found: " " * len(found[0]), line)
        for column, character in enumerate(bare, start=1):
            if character in _QUOTES:
                return f'line {number}, column {column} has the typographic quote {character}; write " there'
            if character in _SPACES:
                return f"line {number}, column {column} has the character U+{ord(character):04X}; write a space there"
    return None
