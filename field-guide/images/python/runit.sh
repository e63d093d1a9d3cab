#!/bin/bash
runsvdir /guide/service & pid=$!
trap 'kill -TERM "$pid"; sv -w 20 force-shutdown /guide/service/*' TERM INT
wait "$pid"; wait "$pid"
