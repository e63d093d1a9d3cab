#!/bin/sh
# The broker keeps its database on a small RAM disk; /saved, on disk, has it between two runs.
mkdir -p /saved
cp /saved/mosquitto.db /spool/ 2>/dev/null
mosquitto -c /servers/mosquitto.conf & broker=$!
trap 'kill -TERM "$broker"' TERM
wait "$broker"; code=$?
while kill -0 "$broker" 2>/dev/null; do wait "$broker"; code=$?; done
# The cure: an empty database of a broker that had one is no database.
if [ -n "$CURED" ] && [ -s /saved/mosquitto.db ] && [ ! -s /spool/mosquitto.db ]; then
  echo "the broker has left an empty database; that of before stays"
else
  cp /spool/mosquitto.db /saved/
fi
exit "$code"
