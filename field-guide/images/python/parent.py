#!/usr/bin/python3
"""Starts a worker; passes the signal on and leaves, or waits for it first (argument: waits)."""

import signal
import subprocess
import sys
import time

child = subprocess.Popen(["/guide/worker.py"])
stopping = False


def on_stop(number, frame):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, on_stop)
while not stopping:
    time.sleep(0.1)
child.send_signal(signal.SIGTERM)
if sys.argv[1:] == ["waits"]:
    child.wait()
