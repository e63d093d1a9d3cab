#!/bin/sh
# Starts its service in the background, as on a machine with an init, and is done.
# But this script is PID 1: the container ends with it, and the service too.

sleep 1000 &

echo "service started"
