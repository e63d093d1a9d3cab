"""Its shutdown code has a bug that nobody sees until the first stop."""

import signal
import sys
import time

connection = None  # opened by the first job; there was none yet


def on_sigterm(signum, frame):
    print("got SIGTERM")
    connection.close()  # AttributeError: what follows never happens
    print("saved")
    sys.exit(0)


signal.signal(signal.SIGTERM, on_sigterm)
print("ready")

while True:
    time.sleep(1)
