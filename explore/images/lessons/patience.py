"""Gives its worker 4 s to write down its work, which takes 0.3 s of CPU time, and leaves without it then."""

import os
import signal
import sys
import time

CURED = "CURED" in os.environ
PATIENCE_S = float("inf") if CURED else 4.0


def worker():
    def write_down(signum, frame):
        began = time.process_time()
        while time.process_time() - began < 0.3:
            pass
        os._exit(0)

    signal.signal(signal.SIGTERM, write_down)
    while True:
        signal.pause()


def on_sigterm(signum, frame):
    os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        pid, _ = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.05)
    sys.exit(0)


child = os.fork()
if child == 0:
    worker()
time.sleep(0.1)  # until the worker has its handler
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")
while True:
    signal.pause()
