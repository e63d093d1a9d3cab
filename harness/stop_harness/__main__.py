"""`python -m stop_harness`, for those whose PATH lacks the command."""

from stop_harness.cli.main import main

main()
