#!/bin/sh
set -e
echo "preparing: configuration, migrations, ..."

# The script stays PID 1 and waits for the program. The stop signal goes to the script only.
"$@"
