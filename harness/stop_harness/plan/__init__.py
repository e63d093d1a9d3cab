"""Scenarios → Trials, and how long they will take."""
