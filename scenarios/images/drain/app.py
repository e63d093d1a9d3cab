"""Finishes the work in hand before it leaves; that takes DRAIN_SECONDS."""

import os
import signal
import sys
import time

drain_seconds = float(os.environ.get("DRAIN_SECONDS", "5"))


def on_sigterm(signum, frame):
    print(f"got SIGTERM, draining for {drain_seconds:g} s")
    time.sleep(drain_seconds)  # stands for requests and jobs that still run
    print("drained")
    sys.exit(0)


signal.signal(signal.SIGTERM, on_sigterm)
print("ready")

while True:
    time.sleep(1)
