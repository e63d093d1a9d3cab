"""Work in a namespace of others: a thread enters it for itself alone, and ends there (setns(2))."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any


def apart(work: Callable[[], Any]) -> Any:
    """Done by a thread that ends with it. Raises the OSError that it raises."""
    made: list[Any] = []

    def run() -> None:
        try:
            made.append(work())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=run, name="in a namespace of others")
    thread.start()
    thread.join()
    (result,) = made
    if isinstance(result, OSError):
        raise result
    return result


def call(name: str, *arguments: int | bytes | None) -> None:
    """A function of the C library that says 0 where it succeeds: Python has setns and unshare from 3.12 on, and mount
    not at all. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
