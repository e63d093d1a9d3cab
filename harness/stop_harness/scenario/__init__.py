"""Text → Scenario."""
