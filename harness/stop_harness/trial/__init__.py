"""Trial → Observation: one stop of one fresh container."""
