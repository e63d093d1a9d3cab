"""Many trials at once: what is limited, and what is told."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from stop_harness.conductor import loading
from stop_harness.engines.simulated import SimulatedEngine
from stop_harness.model import Trial
from stop_harness.plan import trials as plan
from stop_harness.scenario import discovery
from stop_harness.trial import scheduler

TASKS = tuple(sorted((Path(__file__).parent.parent / "scenarios").glob("2[134]-*.yaml")))
"""One container, then two tasks of three."""


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


def test_what_is_done_beside_the_first_start_is_over_before_any_stop() -> None:
    """It begins once, with the first start, and no start is over before it is."""
    begun, over, late = [], threading.Event(), []

    def beside() -> Callable[[], object]:
        begun.append(1)
        timer = threading.Timer(0.05, over.set)
        timer.start()
        return timer.join

    slots = scheduler.StartSlots(4, expected=8, beside_first=beside, after_last=lambda: None)

    def start() -> None:
        with slots:
            pass
        late.append(not over.is_set())

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(start) for _ in range(8)]:
            done.result()
    assert begun == [1]
    assert late == [False] * 8


def test_what_verdicts_and_reports_need_is_loaded_ahead() -> None:
    """Every module that is named; a name that does not exist would end the thread without a word."""
    loading.verdicts()()
    loading.plots()()
    assert {*loading.FOR_VERDICTS, *loading.FOR_PLOTS} <= sys.modules.keys()


def test_an_engine_that_performs_few_stops_at_once_gets_no_more_of_them() -> None:
    """One place is left for its removals, which stand in the same queue."""
    assert scheduler.parse_jobs("auto", 100, scheduler.Room(cpus=2, stops_at_once=7)) == 6
    assert scheduler.parse_jobs("auto", 100, scheduler.Room(cpus=2, stops_at_once=1)) == 1
    assert scheduler.parse_jobs("35", 100, scheduler.Room(cpus=2, stops_at_once=7)) == 35
    engine = replace(SimulatedEngine().info(), stops_at_once=7)
    assert scheduler.room_for(engine, ()).trials == 6


def test_a_task_counts_for_each_of_its_containers_where_stops_are_limited() -> None:
    """Each is stopped by a call of its own."""
    trials = plan.expand(discovery.load(TASKS)).trials
    free, limited = SimulatedEngine().info(), replace(SimulatedEngine().info(), stops_at_once=7)
    assert [scheduler.weight_on(free)(trial) for trial in trials] == [1, 1, 1]
    assert sorted(scheduler.weight_on(limited)(trial) for trial in trials) == [1, 3, 3]


def test_trials_in_flight_weigh_no_more_than_the_jobs() -> None:
    """All of them are done, and one that is too heavy flies alone."""
    weights = {1: 1, 2: 2, 3: 9, 4: 2, 5: 1, 6: 1}
    base = plan.expand(discovery.load(TASKS[:1])).trials[0]
    flying, heaviest, lock = 0, 0, threading.Lock()

    def work(trial: Trial) -> int:
        nonlocal flying, heaviest
        weight = weights[trial.repetition]
        with lock:
            flying += weight
            heaviest = max(heaviest, flying)
            assert flying <= 3 or flying == weight
        with lock:
            flying -= weight
        return trial.repetition

    trials = [replace(base, repetition=number) for number in weights]
    done = scheduler.run_all(
        trials,
        work,
        jobs=3,
        interrupted=lambda: False,
        on_interrupt=lambda: None,
        weight=lambda trial: weights[trial.repetition],
    )
    assert sorted(done) == sorted(weights)
    assert heaviest == 9


def test_an_interruption_is_seen_however_long_its_handler_takes() -> None:
    """The signal comes while the trials are waited for, and its handler ends after that wait's own timeout."""
    asked, told = threading.Event(), threading.Event()

    def slow_handler(*_: object) -> None:
        asked.set()
        time.sleep(3 * scheduler.POLL_S)

    before = signal.signal(signal.SIGUSR1, slow_handler)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(scheduler.POLL_S / 4, signal.pthread_kill, (main, signal.SIGUSR1))
    try:
        trial = plan.expand(discovery.load(TASKS[:1])).trials[0]
        timer.start()
        done = scheduler.run_all(
            [trial], lambda _: told.wait(30), jobs=1, interrupted=asked.is_set, on_interrupt=told.set
        )
        assert list(done) == [True]
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
