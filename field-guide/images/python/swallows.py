#!/usr/bin/python3
"""sys.exit in the handler raises SystemExit, which `except:` (argument: bare) catches and `except Exception` does not."""

import signal
import sys
import time

CAUGHT = BaseException if sys.argv[1] == "bare" else Exception
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
while True:
    try:
        time.sleep(0.2)
    except CAUGHT as error:
        print(f"one request failed: {error!r}", flush=True)
