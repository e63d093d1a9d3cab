"""Users' regular expressions on what containers write, in a time that grows with the text and never explodes.

Python's own engine backtracks: `^(a+)+$` on thirty letters takes minutes and hears no signal meanwhile. RE2 does not
(github.com/google/re2). Standard library and re2 only, because the shim of the process engine imports it as well.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the typing module costs 3 ms of each start of the shim
if TYPE_CHECKING:
    from typing import Any

NOT_THERE = {
    "(?=": "lookahead",
    "(?!": "lookahead",
    "(?<=": "lookbehind",
    "(?<!": "lookbehind",
    "(?>": "an atomic group",
    "(?(": "a condition",
    "(?P": "a reference to a group",
    "(?#": "a comment",
    "(?x": "verbose mode",
    "++": "a possessive quantifier",
    "*+": "a possessive quantifier",
    "?+": "a possessive quantifier",
    "\\Z": "\\Z (write \\z)",
    "\\u": "\\u (write \\x{…}, or the letter itself)",
    **{f"\\{digit}": "a reference to a group" for digit in range(1, 10)},
}
"""What Python's expressions have and RE2's have not, by the beginning that RE2 complains about."""

ALLOWED = (
    "allowed is the syntax of RE2: no lookaround, references, possessive quantifiers or comments, at most 1000 "
    "repetitions; \\d, \\w, \\s and \\b know ASCII"
)

MOST_DIGITS = 8
"""Of both limits of a repetition together; RE2 takes nine and more for letters, and refuses above 1000."""


ESCAPES = rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])"
"""ECMA-48: control sequences (CSI), window titles and links (OSC), and escapes of two characters."""


class PatternError(ValueError):
    """A pattern that is not allowed, with what is, in words for people."""


class LogPattern:
    """A pattern that is searched in whole lines; `^` and `$` match at the beginning and end of each.

    Raises PatternError.
    """

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self._found = _compiled(pattern).search

    def found_in(self, lines: bytes | str) -> bool:
        """Whether a line matches, as it was written or as a terminal shows it. Bytes that are not UTF-8 count as one
        replacement character each."""
        text = lines if isinstance(lines, str) else lines.decode(errors="replace")
        written = text.replace("\r\n", "\n").rstrip("\r").encode(errors="replace")
        if self._found(written) is not None:
            return True
        shown = _as_shown(written)
        return shown != written and self._found(shown) is not None


def _as_shown(written: bytes) -> bytes:
    """Lines without colours and the like, and cut where a carriage return begins them again: what writes to a terminal
    (`tty`) writes both, and neither is part of what a person reads."""
    if b"\x1b" in written:
        import re2

        written = re2.sub(ESCAPES, b"", written)
    while b"\r\r" in written:
        written = written.replace(b"\r\r", b"\r")
    return written.replace(b"\r\n", b"\n").strip(b"\r").replace(b"\r", b"\n")


def check(pattern: str) -> str:
    """The pattern itself. Raises PatternError."""
    _compiled(pattern)
    return pattern


def _compiled(pattern: str) -> Any:
    import re2  # late: 10 ms, and most commands need no pattern

    if (letters := _taken_for_letters(pattern)) is not None:
        raise PatternError(_explained(pattern, letters))
    options = re2.Options()
    options.log_errors = False  # to standard error, past everybody
    try:
        text = pattern.encode()
    except UnicodeEncodeError as error:
        raise PatternError(f"{_shown(pattern)} is not text at its character {error.start + 1}") from None
    try:
        re2.compile(text, options)  # alone first, so that the message does not name the flag
        return re2.compile(b"(?m)" + text, options)
    except re2.error as error:
        raise PatternError(_explained(pattern, error.args[0])) from None


def _taken_for_letters(pattern: str) -> str | None:
    """A repetition that RE2 would take for plain letters: no lower limit, or one with very many digits."""
    at = pattern.find("{")
    while at >= 0:
        inside, brace, _ = pattern[at + 1 :].partition("}")
        lowest, _, highest = inside.partition(",")
        digits = lowest + highest
        if brace and digits.isascii() and digits.isdigit() and (not lowest or len(digits) > MOST_DIGITS):
            return f"{{{inside}}}"
        at = pattern.find("{", at + 1)
    return None


def _explained(pattern: str, error: bytes | str) -> str:
    """In words for people; `error`: RE2's own, which ends in the part that it complains about, or that part alone."""
    message = error.decode(errors="replace") if isinstance(error, bytes) else error
    part = message.rpartition(": ")[2]
    at = pattern.find(part) if part else -1
    where = f" at its character {at + 1}" if at >= 0 else ""
    known = NOT_THERE.get(part, part if message == part else None)
    reason = f"{known} is not to be had" if known else message
    return f"{_shown(pattern)} is not a regular expression{where}: {reason}; {ALLOWED}"


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 60 else pattern[:60] + "…")
