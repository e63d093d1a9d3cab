#!/usr/bin/python3
"""A flag that is looked at once a minute: the sleep goes on after the handler (PEP 475)."""

import signal
import time

stopping = False


def on_stop(number, frame):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, on_stop)
print("ready", flush=True)
while not stopping:
    time.sleep(60)
