#!/bin/bash
echo ready
while true; do
  sleep 3                  # stands for a piece of work
  echo "one piece done"
done
