"""Threads that are used again, and end when they are no longer wanted."""

from __future__ import annotations

import threading

from stop_harness.ecs_endpoint.worker_threads import WorkerThreads
from tests.ecs_support import until

PATIENCE_S = 30


def test_work_at_the_same_time_has_a_thread_each() -> None:
    """Whatever else is under way: fifty works that wait for each other come to an end."""
    workers, together = WorkerThreads(), threading.Barrier(50, timeout=PATIENCE_S)
    done = threading.Semaphore(0)

    def work() -> None:
        together.wait()
        done.release()

    for _ in range(2):
        for _ in range(50):
            workers.run(work)
        for _ in range(50):
            assert done.acquire(timeout=PATIENCE_S)
    workers.close()


def test_threads_are_used_again_and_end_at_the_close() -> None:
    """One after another needs one thread; busy ones end after their work."""
    workers, used = WorkerThreads(), list[threading.Thread]()
    for _ in range(20):
        workers.run(lambda: used.append(threading.current_thread()))
        until(lambda: workers._idle, bool, PATIENCE_S)  # nothing else tells when the thread may be used again
    assert len(set(used)) == 1
    leave, busy = threading.Event(), threading.Event()

    def work() -> None:
        used.append(threading.current_thread())
        busy.set()
        leave.wait(PATIENCE_S)

    workers.run(work)
    workers.run(lambda: used.append(threading.current_thread()))
    assert busy.wait(PATIENCE_S)
    workers.close()
    leave.set()
    until(lambda: not any(thread.is_alive() for thread in used), bool, PATIENCE_S)
