#!/usr/bin/python3
"""Takes the stop signal at once and then finishes its piece of work, which takes SECONDS (2)."""

import os
import signal
import time

stopping = False


def on_stop(number, frame):
    global stopping
    stopping = True


for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, on_stop)
print("ready", flush=True)
while not stopping:
    time.sleep(0.1)
time.sleep(float(os.environ.get("SECONDS_OF_WORK", "2")))
print("saved", flush=True)
