"""What a thread of its own gives or raises is had where it is waited for."""

from __future__ import annotations

import threading

import pytest

from stop_harness.conductor import background


def test_the_result_is_waited_for() -> None:
    """It comes from another thread, which bears the name that was given and keeps no process alive."""
    go_on = threading.Event()

    def work() -> tuple[str, bool]:
        assert go_on.wait(timeout=30)
        return threading.current_thread().name, threading.current_thread().daemon

    begun = background.begin("look", work)
    assert not begun.done()
    go_on.set()
    assert begun.result(timeout=30) == ("look", True)
    assert begun.exception() is None


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_error_is_raised_where_the_result_is_waited_for(error: BaseException) -> None:
    """Also one that is no Exception, which would otherwise end a thread without a word."""

    def work() -> None:
        raise error

    begun = background.begin("look", work)
    assert begun.exception(timeout=30) is error
    with pytest.raises(type(error)) as raised:
        begun.result()
    assert raised.value is error


def test_where_no_thread_can_be_started_that_is_said_at_once() -> None:
    """Whoever begins work decides what to do without a thread; it is not waited for in vain."""
    before = threading.stack_size(1 << 62)  # more than there is of address space
    try:
        with pytest.raises(RuntimeError):
            background.begin("look", lambda: None)
    finally:
        threading.stack_size(before)
