"""Says nothing about signals. On a laptop SIGTERM ends it, as PID 1 of a container it does not."""

import time

print("ready")

while True:
    time.sleep(1)
