#!/usr/bin/python3
"""Runs jobs in processes of their own, without a handler, and finishes the running one when told to stop."""

import signal
import subprocess
import sys

stopping = False


def on_stop(number, frame):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, on_stop)
while not stopping:
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"], restore_signals=True)
    print("ready", flush=True)  # told before the first job, it would have none that could be lost
    print("job ended with", job.wait(), flush=True)
