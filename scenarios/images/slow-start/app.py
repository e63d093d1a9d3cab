"""Installs its handler when everything else is done, which is too late for an early stop."""

import signal
import sys
import time

print("starting")
time.sleep(8)  # stands for imports, migrations, warming a cache


def on_sigterm(signum, frame):
    print("got SIGTERM")
    sys.exit(0)


signal.signal(signal.SIGTERM, on_sigterm)  # belongs before the slow part
print("ready")

while True:
    time.sleep(1)
