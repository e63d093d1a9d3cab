#!/bin/bash
/guide/worker.py & child=$!
trap 'kill -TERM "$child"' TERM INT
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
exit "$code"
