#!/bin/bash
# start.sh HOW KIND: an entrypoint script of a kind, over the program.
case $1 in
exec) exec python3 -u /subject/app.py "$2" ;;
forward)
    trap 'sleep 0.3; kill -TERM $child' TERM
    python3 -u /subject/app.py "$2" & child=$!
    wait $child; wait $child ;;
kill0)
    trap 'trap "" TERM; kill 0; wait; exit 0' TERM
    python3 -u /subject/app.py "$2" &
    wait ;;
helper)
    (while :; do sleep 5; done) &
    exec python3 -u /subject/app.py "$2" ;;
loop)
    trap 'exit 0' TERM
    echo ready
    while :; do sleep 1 & wait $!; kill $! 2>/dev/null; done ;;
supervise)
    # supervise GROUP KIND: a configuration, then supervisord.
    cat >/tmp/supervisord.conf <<END
[supervisord]
nodaemon=true
user=root
logfile=/dev/null
logfile_maxbytes=0
[program:app]
command=python3 -u /subject/app.py $3
stopasgroup=$2
stopwaitsecs=18
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0
redirect_stderr=true
END
    exec supervisord -c /tmp/supervisord.conf ;;
s6)
    mkdir -p /svc/app
    printf '#!/bin/sh\nexec python3 -u /subject/app.py %s\n' "$2" >/svc/app/run
    chmod +x /svc/app/run
    exec s6-svscan /svc ;;
runit)
    # runsvdir waits for nobody when it is told to leave; so the services are stopped first: sv(8).
    mkdir -p /svc/app
    printf '#!/bin/sh\nexec python3 -u /subject/app.py %s\n' "$2" >/svc/app/run
    chmod +x /svc/app/run
    runsvdir /svc & services=$!
    trap 'sv -w 18 force-shutdown /svc/app; kill -HUP $services; wait $services; exit 0' TERM
    wait ;;
esac
