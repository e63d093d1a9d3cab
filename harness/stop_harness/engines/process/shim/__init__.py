"""The waiting parent of one subject: a process of its own, with nothing of ours but this folder and `log_pattern`."""
