"""Says goodbye to its database when it stops, and does not leave before that has answered."""

import os
import signal
import socket
import sys
import time

CURED = "CURED" in os.environ


address = None


def say(text):
    with socket.create_connection((address or "db", 5000), timeout=1) as connection:
        connection.sendall(text)
        if connection.recv(100) != b"ok\n":
            raise OSError("no answer")


def on_sigterm(signum, frame):
    deadline = time.monotonic() + (2 if CURED else float("inf"))
    while time.monotonic() < deadline:
        try:
            say(b"bye\n")
            break
        except OSError as error:
            print(error)
            time.sleep(0.1)
    sys.exit(0)


while True:  # at its start the database may take its time
    try:
        say(b"hello\n")
        break
    except OSError:
        time.sleep(0.1)
if CURED:
    address = socket.gethostbyname("db")  # not later: without a network it takes 10 s
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")
while True:
    signal.pause()
