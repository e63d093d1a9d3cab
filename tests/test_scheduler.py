"""Many trials at once: what is limited, and what is told."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from harness import report_files, scheduler


def test_the_last_start_is_announced_once_and_starts_are_limited() -> None:
    """From then on nothing but waiting is left, and the reports' libraries can be loaded."""
    announced: list[int] = []
    slots = scheduler.StartSlots(2, expected=20, after_last=lambda: announced.append(1))
    inside, most, lock = 0, 0, threading.Lock()

    def start() -> None:
        nonlocal inside, most
        with slots:
            with lock:
                inside += 1
                most = max(most, inside)
                assert not announced
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(start) for _ in range(20)]:
            done.result()
    assert announced == [1]
    assert 1 <= most <= 2


def test_what_the_reports_need_is_loaded_ahead() -> None:
    """Every module that is named; a name that does not exist would end the thread without a word."""
    report_files.load_renderers().join(timeout=60)
    assert set(report_files.RENDERERS_NEED) <= sys.modules.keys()
