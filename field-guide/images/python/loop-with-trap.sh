#!/bin/bash
stop=
trap 'stop=1' TERM INT
echo ready
while [ -z "$stop" ]; do
  sleep 3                  # stands for a piece of work: the trap runs after it, so it is finished first
  echo "one piece done"
  [ -n "$stop" ] && break
  sleep 60 & wait $! || kill $! 2>/dev/null
done
