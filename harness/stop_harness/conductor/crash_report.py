"""What to send us when something happens that cannot happen: a short text for people, and a file with the details."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Iterable, Sequence

from stop_harness._version import VERSION

SEEN: list[str] = []
"""One line for each unexpected error so far, also of threads."""


def of(error: BaseException, arguments: Sequence[str], known: Iterable[str] = ()) -> str:
    """The text for standard error. `arguments`: the command line; only its options and the `known` words are shown."""
    import traceback  # late, as below: hardly any run needs it

    line = in_one_line(error)
    SEEN.append(line)
    version = f"stop-harness {VERSION}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    command = f"command line: {without_values(arguments, frozenset(known))}"
    details = "\n".join((version, command, "", *traceback.format_exception(error)))
    hint = "  it got no more memory; see `ulimit -v`, or use fewer --jobs\n" if isinstance(error, MemoryError) else ""
    return (
        "stop-harness: a fault of stop-harness itself, not of a container\n"
        f"  {line}\n{hint}  {version}\n  {command}\n  {_write(details)}\n"
    )


def note(error: BaseException) -> str:
    """The same for an error that did not end the run: one line, with the place of the details."""
    import traceback

    line = in_one_line(error)
    SEEN.append(line)
    return f"{line} ({_write(os.linesep.join(traceback.format_exception(error)))})"


def in_one_line(error: BaseException) -> str:
    """`KeyError: 'x'`, at most 300 characters."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if words else ''}{words}"[:300]


def without_values(arguments: Sequence[str], known: frozenset[str]) -> str:
    """`stop-harness check --env … --init …`: a command line may hold a password."""
    shown = []
    for argument in arguments:
        option, sign, _ = argument.partition("=")
        is_option = option.startswith("-") and not option[1:2].isdigit()
        shown.append((option + (sign and "=…") if is_option else argument) if is_option or argument in known else "…")
    return " ".join(["stop-harness", *shown[1:]])


def watch() -> None:
    """From now on an unexpected error in a thread is one line on standard error, and is counted."""
    SEEN.clear()

    def on_error(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is not None and not isinstance(error, SystemExit):
            print(f"stop-harness: a thread of it failed: {note(error)}", file=sys.stderr)

    threading.excepthook = on_error


def _write(details: str) -> str:
    """Where the details are. In a file that only its owner can read."""
    import tempfile

    try:
        descriptor, path = tempfile.mkstemp(prefix="stop-harness-fault-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(details)
    except OSError as error:
        return f"the details could not be written: {error.strerror}"
    return f"details, to be sent with a report of the fault: {path}"
