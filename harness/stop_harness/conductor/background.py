"""Work that a thread of its own does; what it gives or raises is had where it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Done = TypeVar("Done")


def begin(name: str, work: Callable[[], Done]) -> Future[Done]:
    """Begin it now. `name`: of the thread, which keeps no process alive.

    `result` of what this gives waits, and raises whatever the work raised, also what is no Exception; `exception`
    waits and gives that, or None. Raises RuntimeError where the machine gives no more threads.
    """
    future: Future[Done] = Future()

    def perform() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=perform, name=name, daemon=True).start()
    return future
