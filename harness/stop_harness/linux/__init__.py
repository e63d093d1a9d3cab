"""What the kernel tells of processes, signals and exits."""
