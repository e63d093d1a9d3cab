"""The conductor, and what a run reads and writes."""
