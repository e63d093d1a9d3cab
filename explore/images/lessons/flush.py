"""Writes what it has in memory when it is told to stop. On a full disk it is too late to ask for room."""

import os
import signal
import sys

CURED = "CURED" in os.environ
WORK = b"order\n" * 4000
PATH = "/spool/journal"


def on_sigterm(signum, frame):
    with open(PATH, "r+b" if CURED else "wb") as journal:
        journal.write(WORK)
    sys.exit(0)


if CURED:
    with open(PATH, "wb") as journal:  # its room is taken while there is some
        os.posix_fallocate(journal.fileno(), 0, len(WORK))
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")
while True:
    signal.pause()
