"""Leaves at once, with exit code 0, when it is told to."""

import signal
import sys
import time


def on_sigterm(signum, frame):
    print("got SIGTERM")
    sys.exit(0)  # raises SystemExit: `finally` blocks and atexit functions still run


signal.signal(signal.SIGTERM, on_sigterm)
print("ready")

while True:
    time.sleep(1)
