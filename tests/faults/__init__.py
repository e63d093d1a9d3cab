"""An engine that fails: a proxy that breaks its answers, a table of faults, and what a run under each may say."""
