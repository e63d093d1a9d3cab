#!/bin/sh
set -e
echo "preparing: configuration, migrations, ..."

# The program takes the script's place as PID 1 and gets the stop signal itself.
exec "$@"
