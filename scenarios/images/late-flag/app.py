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
    time.sleep(60)  # goes on sleeping after the handler (PEP 475); `threading.Event.wait(60)` would return

print("left the loop")
