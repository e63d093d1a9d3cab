#!/bin/sh
# Starts a worker in the background. Told to stop, it leaves without it.

worker() {
    stopping=no
    trap 'echo "worker: got SIGTERM"; stopping=yes' TERM
    while [ "$stopping" = no ]; do sleep 1; done # one job after the other
    echo "worker: last job finished"
}

worker &

# When PID 1 leaves, the kernel sends SIGKILL to every other process of the container.
# The cure: pass the signal on and wait.  trap 'echo "got SIGTERM"; kill $!; wait $!; exit 0' TERM
trap 'echo "got SIGTERM"; exit 0' TERM

echo ready
wait
