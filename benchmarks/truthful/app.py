"""Drains for DRAIN_SECONDS and says by its own clocks when the signal came and when it began to exit."""

import os
import signal
import time

DRAIN_S = float(os.environ.get("DRAIN_SECONDS", "0"))


def on_sigterm(_signum, _frame):
    received = time.monotonic_ns(), time.time_ns()
    if DRAIN_S:
        time.sleep(DRAIN_S)
    os.write(1, b"truth %d %d %d %d\n" % (*received, time.monotonic_ns(), time.time_ns()))
    os._exit(0)


signal.signal(signal.SIGTERM, on_sigterm)
os.write(1, b"ready\n")
while True:
    signal.pause()
