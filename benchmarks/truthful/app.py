"""Drains for DRAIN_SECONDS and says by its own clocks when the signal came and when it began to exit."""

import os
import signal
import time

DRAIN_S = float(os.environ.get("DRAIN_SECONDS", "0"))


def leave():
    received = time.monotonic_ns(), time.time_ns()
    if DRAIN_S:
        time.sleep(DRAIN_S)
    os.write(1, b"truth %d %d %d %d\n" % (*received, time.monotonic_ns(), time.time_ns()))
    os._exit(0)


# Not a handler and pause(): a signal between the last look at what came and pause() would be noticed by the next one
# only (seen twice on a busy machine). What is blocked waits for sigwait.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.write(1, b"ready\n")
signal.sigwait({signal.SIGTERM})
leave()
