"""results.json: everything a report says, for machines."""
