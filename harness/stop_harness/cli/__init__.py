"""Options, files, exit codes: one file for each group of commands, and no policy."""
