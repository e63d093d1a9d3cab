#!/bin/sh
exec /guide/worker.py
