"""Trials beyond the plan: remedies, and the window in which a stop signal is lost."""
