#!/usr/bin/python3
"""A thread that never ends keeps the process alive, unless it is a daemon (argument)."""

import signal
import sys
import threading
import time


def beat():
    while True:
        time.sleep(0.5)


threading.Thread(target=beat, daemon=sys.argv[1:] == ["daemon"]).start()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
while True:
    time.sleep(0.5)
