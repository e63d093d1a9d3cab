#!/bin/sh
/guide/worker.py
echo over
