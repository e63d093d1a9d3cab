"""Copies all it knows into memory to save it, with a memory limit made for normal work."""

import signal
import sys
import time

MIB = 1024 * 1024
STATE_MIB = 256


def on_sigterm(signum, frame):
    print("got SIGTERM, saving")
    snapshot = [b"x" * MIB for _ in range(STATE_MIB)]  # the OOM killer ends it here
    print(f"saved {len(snapshot)} MiB")
    sys.exit(0)


signal.signal(signal.SIGTERM, on_sigterm)
print("ready")

while True:
    time.sleep(1)
