"""Drains on SIGQUIT and drops its work on SIGTERM, the way nginx and php-fpm do."""

import signal
import sys
import time


def on_sigquit(signum, frame):
    print("got SIGQUIT, finishing the work in hand")
    time.sleep(1)
    print("drained")
    sys.exit(0)


def on_sigterm(signum, frame):
    print("got SIGTERM, dropping the work in hand")
    sys.exit(1)


signal.signal(signal.SIGQUIT, on_sigquit)
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")

while True:
    time.sleep(1)
