"""What a program's own words during the stop give away. Pure; words of logs in general, of no product."""

from __future__ import annotations

import re

from stop_harness import signals

_FAULT = re.compile(
    r"traceback \(most recent call last\)|^\s*panic:|\bunhandled\b|\buncaught\b|segmentation fault|core dumped"
    r"|\bfatal\b|\bexception\b|\w(?:Error|Exception)\b|\berror\b|\bfailed\b|\bfailure\b|assertion|\babort(?:ed|ing)\b",
    re.IGNORECASE | re.MULTILINE,
)
_NO_FAULT = re.compile(r"\b(?:no|0|without(?: any)?|errors?[:=]) ?(?:errors?|failures?|0)\b", re.IGNORECASE)
_CRASH = re.compile(
    r"traceback \(most recent call last\)|^\s*panic:|\bunhandled\b|\buncaught\b|segmentation fault|core dumped"
    r"|\w(?:Error|Exception)\b",
    re.IGNORECASE | re.MULTILINE,
)
_TRACEBACK = re.compile(r"traceback \(most recent call last\)", re.IGNORECASE)
_WORKS_ON_SHUTDOWN = re.compile(
    r"warm shutdown|\bdrain|\bwaiting\b|\bwait for\b|\bfinish(?:ing)?\b|in[- ]flight|still running|clean(?:ing)?[- ]?up"
    r"|\bflushing\b|\bsaving\b|\bgraceful|\bwill (?:stop|exit|shut)\b.*\bafter\b",
    re.IGNORECASE,
)
_WAITS_FOR_CLIENTS = re.compile(
    r"\bwait\w*\b.{0,30}\b(?:connections?|clients?|sessions?)\b"
    r"|\b(?:connections?|clients?|sessions?)\b.{0,30}\b(?:to (?:close|disconnect|finish)|still open)\b",
    re.IGNORECASE,
)
_SPEAKS_OF_THE_STOP = re.compile(r"\bsig(?:nal|term|int|quit|hup|usr[12])\b|terminat|shut|\bstop|\bclos", re.IGNORECASE)
_EPILOGUE = re.compile(
    r"^\s*(?:\x1b\[[0-9;]*m)*(?:npm (?:ERR!|error|notice|info|verb)|npm$|lerna ERR!|\[?ELIFECYCLE\]?|ERR_PNPM"
    r"|.{0,3}\bELIFECYCLE\b|error Command (?:failed|was killed)|info Visit https://yarnpkg"
    r"|error: script \".*\" (?:exited|was)|make(?:\[\d+\])?: \*\*\*|Command failed with exit code)",
    re.IGNORECASE,
)
"""Lines in which npm, pnpm, yarn, lerna, bun and make report how the command that they ran has ended."""

_INTERRUPTED = re.compile(r"^\s*KeyboardInterrupt\b|\(Interrupt\)$|^\S+: Interrupt\b")
_EXITS = re.compile(r"\bexit(?:ing|\(\d*\))?\b|\bbye\b|\bquit\b", re.IGNORECASE)


_MAY_NOT_SIGNAL = re.compile(
    r"\b(?:kill|signal)\w*\b.{0,80}\b(?:not permitted|permission denied|EPERM)\b|\bPermissionError: \[Errno 1\]",
    re.IGNORECASE,
)
_POINTER = re.compile(r"^\s*[\^~]+\s*$")
"""What a runtime puts below a line of source text that it quotes."""

_LOST = re.compile(
    r"\bWorkerLost|BrokenProcessPool|\bprematurely\b|\b(?:unexpected(?:ly)?|not expected)\b"
    r"|\b(?:lost|unfinished|incomplete|abandoned|not saved)\b",
    re.IGNORECASE,
)
_ENDED = (
    r"\b(?:ended|exit(?:ed|s)?|died|finished|failed|killed|terminated|returned?|return ?code|code|status|rc|signal)\b"
)


def lost(text: str | None) -> str | None:
    """The first line that says that something is lost: `WorkerLostError`, `exited prematurely`, `job 3 unfinished`."""
    return _line(_LOST, text)


def ended_by(text: str | None, number: int) -> str | None:
    """The first line that reports that signal `number` ended something; whether that was at work it need not say.

    `job ended with -15`, `child process exited with code null SIGTERM`, `exit status 143`, `status 15`,
    `signal: terminated`; not `got SIGTERM, exiting`, and not what an init says of every process that it reaps.
    """
    word = {15: "terminated", 2: "interrupt", 1: "hangup", 3: "quit"}.get(number, "")
    told = [
        rf"{_ENDED}.{{0,30}}(?<![\w.])(?:-{number}|{128 + number})\b",
        rf"\bsignal[ :=]+{number}\b",
        rf"\bstatus[ :=]+{number}\b",  # of wait(2) as it is, such as $? in perl
        rf"{_ENDED}[^.;]{{0,20}}\bSIG{re.escape(signals.name(number).removeprefix('SIG'))}\b",
        *([rf"\bsignal: {word}\b"] if word else []),
    ]
    return _line(re.compile(f"^(?!.*\\breap).*(?:{'|'.join(told)})", re.IGNORECASE), text)


def may_not_signal(text: str | None) -> str | None:
    """The first line that says that a process may not send a signal: `kill: (7) - Operation not permitted`."""
    return _line(_MAY_NOT_SIGNAL, text)


def fault(text: str | None) -> str | None:
    """The first line that speaks of an error of the program itself.

    What a package manager or a task runner writes when its script has ended is no such line: it reports the end.
    """
    lines = [line for line in _not_quoted(_own_lines(text)) if not _NO_FAULT.search(line)]
    found = next((at for at, line in enumerate(lines) if _FAULT.search(line)), None)
    if found is None:
        return None
    # A traceback says at its end what went wrong: the first line that is not indented.
    end = lines[found]
    if _TRACEBACK.match(end.strip()):
        end = next((line for line in lines[found + 1 :] if line.strip() and line == line.lstrip()), end)
    return end.strip()


def crash(text: str | None) -> str | None:
    """The first line by which a runtime says that the program failed where it stood: a traceback, a panic, the name of
    an exception. Less than `fault`, for many write "error" or "fatal" of what a stop brings with it."""
    lines = _own_lines(text)
    found = next((at for at, line in enumerate(lines) if _CRASH.search(line) and not _NO_FAULT.search(line)), None)
    return None if found is None else fault("\n".join(lines[found:])) or lines[found].strip()


def _not_quoted(lines: list[str]) -> list[str]:
    """Without the source text that a runtime quotes above its error, known by the pointer in the next line."""
    below = [*lines[1:], ""]
    return [line for line, after in zip(lines, below, strict=True) if not _POINTER.match(after)] if lines else []


def works_on_shutdown(text: str | None) -> str | None:
    """The first line that says that the program is at its shutdown and what it still has to do."""
    return _line(_WORKS_ON_SHUTDOWN, text)


def waits_for_clients(text: str | None) -> str | None:
    """The first line that says that the program waits for its peers to leave."""
    return _line(_WAITS_FOR_CLIENTS, text)


def speaks_of_the_stop(text: str | None) -> str | None:
    """The first line that shows that the program itself heard of the stop."""
    return _line(_SPEAKS_OF_THE_STOP, text) or works_on_shutdown(text) or says_it_exits(text)


def says_it_exits(text: str | None) -> str | None:
    """The first line that says that the program means to leave."""
    return _line(_EXITS, text)


def interrupted(text: str | None) -> str | None:
    """The line by which a runtime says that SIGINT ended it where it stood."""
    return _line(_INTERRUPTED, text)


def last_line(text: str | None) -> str | None:
    """The last line that is not empty."""
    lines = [line.strip() for line in _own_lines(text) if line.strip()]
    return lines[-1] if lines else None


def _own_lines(text: str | None) -> list[str]:
    return [line for line in (text or "").splitlines() if not _EPILOGUE.search(line)]


def shown(line: str) -> str:
    """A line of a log inside a sentence."""
    text = " ".join(line.split()).replace('"', "'")
    return f'"{text if len(text) <= 100 else text[:99] + "…"}"'


def _line(pattern: re.Pattern[str], text: str | None) -> str | None:
    return next((line.strip() for line in (text or "").splitlines() if pattern.search(line)), None)
