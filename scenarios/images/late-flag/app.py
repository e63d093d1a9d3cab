"""Catches SIGTERM and notes it in a flag that it looks at once a minute."""

import signal
import time

stopping = False


def on_sigterm(signum, frame):
    global stopping
    print("got SIGTERM")
    stopping = True


signal.signal(signal.SIGTERM, on_sigterm)
print("ready")

while not stopping:
    time.sleep(60)  # a signal does not cut it short: after the handler it sleeps on (PEP 475)

print("left the loop")
