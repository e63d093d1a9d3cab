"""Opens its port, loads its catalogue for 300 ms, and only then installs its handler: a stop in between is lost."""

import os
import signal
import socket
import sys
import time

CURED = "CURED" in os.environ


def on_sigterm(signum, frame):
    sys.exit(0)


if CURED:
    signal.signal(signal.SIGTERM, on_sigterm)  # first of all
listener = socket.create_server(("", 8000))
print("listening")
time.sleep(0.3)  # loads its catalogue
signal.signal(signal.SIGTERM, on_sigterm)
while True:
    connection, _ = listener.accept()
    connection.close()
