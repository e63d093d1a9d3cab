"""Stops and verdicts for programs in Python. `stop_harness` itself gives these names, and loads them when asked."""
