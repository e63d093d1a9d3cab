#!/bin/bash
SECONDS_OF_WORK=1 /guide/worker.py & first=$!
SECONDS_OF_WORK=2 /guide/worker.py & second=$!
pass_on() { kill -TERM "$first" "$second" 2>/dev/null; }
trap pass_on TERM INT
wait -n; code=$?               # one has left, or the signal has come
pass_on                        # then the other one has to leave, too
wait "$first"; wait "$second"
exit "$code"
