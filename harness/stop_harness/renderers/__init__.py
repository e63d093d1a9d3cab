"""One file per format, each with `render(report)`. Pure: what they return is written elsewhere."""
