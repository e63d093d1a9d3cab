"""Verdicts → Report: what is said about a run, not how it looks. Pure."""
