#!/bin/bash
/guide/worker.py & child=$!
trap 'kill -TERM "$child"; exit 0' TERM
wait "$child"
