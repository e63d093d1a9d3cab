#!/bin/bash
mkfifo /tmp/out
tee -a /var/log/app.log </tmp/out & tee=$!
/guide/worker.py >/tmp/out 2>&1 & program=$!
trap 'kill -TERM "$program"' TERM INT
wait "$program"; code=$?
while kill -0 "$program" 2>/dev/null; do wait "$program"; code=$?; done
wait "$tee"                    # it ends when the last writer has
exit "$code"
