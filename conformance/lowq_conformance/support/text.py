"""Makes strangers' texts fit to be shown: long ones cut, control characters spelt out."""

from __future__ import annotations

import unicodedata


def excerpt(text: str, longest: int) -> str:
    """The text, or where it has more than `longest` characters its beginning, how many are left out, and its end."""
    if len(text) <= longest:
        return text
    half = max(1, longest // 2 - 5)
    return f"{text[:half]}…{len(text) - 2 * half:,} more…{text[-half:]}"


def printable(text: str) -> str:
    """The text with its control, format and unpaired surrogate characters spelt out, but for tabs and line ends."""
    if text.isprintable():
        return text
    return "".join(_spell(character) for character in text)


def _spell(character: str) -> str:
    if character in "\t\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    return (
        character.encode("ascii", "backslashreplace").decode() if character >= "\x80" else f"\\x{ord(character):02x}"
    )


def describe_error(error: BaseException) -> str:
    """What an error says, in one line."""
    first = (str(error).splitlines() or [""])[0][:200]
    return f"raised {type(error).__name__}: {first}" if first else f"raised {type(error).__name__}"
