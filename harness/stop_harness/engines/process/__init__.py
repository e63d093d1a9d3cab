"""The embedded engine: subjects are PID 1 of PID namespaces on this machine."""
