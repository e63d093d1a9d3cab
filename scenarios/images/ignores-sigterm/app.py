"""Ignores SIGTERM, like everything started under `trap '' TERM` does: children inherit it."""

import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready")

while True:
    time.sleep(1)
