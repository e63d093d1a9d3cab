#!/bin/bash
SECONDS_OF_WORK=1 /guide/worker.py &
SECONDS_OF_WORK=2 /guide/worker.py &
wait -n
