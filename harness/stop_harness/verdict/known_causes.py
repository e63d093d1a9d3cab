"""Every cause of a stop that is not graceful: its id, meaning, cure and source, as docs/outcomes.md has them."""

from __future__ import annotations

from stop_harness.records import dataclass


@dataclass(frozen=True)
class KnownCause:
    """A cause with its id, as listed in `docs/outcomes.md`."""

    id: str
    meaning: str
    cure: str
    source: str


CAUSES = {
    each.id: each
    for each in (
        KnownCause(
            "pid1-no-handler",
            "PID 1 has no handler for the stop signal, and the kernel drops a signal's default action for PID 1.",
            "Handle the signal in the program, or run it under an init (`docker run --init`, `init: true`, tini).",
            "pid_namespaces(7)",
        ),
        KnownCause(
            "shell-not-forwarding",
            "PID 1 is a shell that waits for the program and passes no signal on to it.",
            'Exec form (`CMD ["program", "argument"]`), or `exec program` as the last command of the script.',
            "Dockerfile reference, shell form; moby#3766",
        ),
        KnownCause(
            "handler-delayed",
            "A shell with a trap runs it only after its foreground command has ended.",
            "Run the command in the background and `wait` for it, or `exec` it.",
            "POSIX, trap; bash(1), SIGNALS",
        ),
        KnownCause(
            "waits-for-clients",
            "The program has begun to stop and waits for a peer that keeps its connection.",
            "Limit the drain in the program's settings, or send the stop signal of its faster shutdown.",
            "postgres(1); uvicorn#2757",
        ),
        KnownCause(
            "wrapper-swallows-signal",
            "A wrapper catches the signal, stays, and does not pass it on.",
            "Start the program itself instead of the wrapper.",
            "npm/cli#6684",
        ),
        KnownCause(
            "signal-not-permitted",
            "A process passes the signal on, but may not signal what it has started, which runs as another user.",
            "Leave the container the capability KILL (`cap_add: [KILL]` in Compose), or start both as one user.",
            "kill(2), EPERM; capabilities(7), CAP_KILL",
        ),
        KnownCause(
            "pid1-handler-noop",
            "The handler that the runtime brings along resets itself and raises the signal again, which PID 1 drops.",
            "Handle the signal in the program, or run it under an init.",
            "nodejs/docker-node, best practices",
        ),
        KnownCause(
            "reraise-lost",
            "The program's handler restores the default action and raises the signal again, which PID 1 drops.",
            "Leave by `exit` at the end of the handler, or run the program under an init.",
            "pid_namespaces(7); signal(7)",
        ),
        KnownCause(
            "handler-hangs",
            "The handler began and waits for something that never comes.",
            "Only set a flag in the handler; do the work of the shutdown in the main loop.",
            "signal-safety(7); Python library, socketserver: shutdown()",
        ),
        KnownCause(
            "handler-too-slow",
            "The handler returned, but the program looks at what it noted only after a long sleep.",
            "Wait on something that the handler can wake: an event, a pipe, a condition.",
            "PEP 475: sleep is resumed after a handler",
        ),
        KnownCause(
            "handler-swallowed",
            "The handler ran, and the program went on: its exception was caught, or it decides nothing.",
            "Do not catch what the handler raises (`except:`, `except BaseException`).",
            "Python language reference, SystemExit",
        ),
        KnownCause(
            "exit-blocked",
            "The program has decided to exit, and a thread that goes on keeps its process alive.",
            "Make such threads daemon threads, or end and join them first.",
            "Python library, threading: daemon threads",
        ),
        KnownCause(
            "grace-too-short",
            "The shutdown was under way and not finished at the stop timeout.",
            "A longer stop timeout (`--stop-timeout`, `stopTimeout`, `terminationGracePeriodSeconds`), or less to do.",
            "docker stop; Amazon ECS, stopTimeout",
        ),
        KnownCause(
            "group-signal",
            "The stop signal went to a whole process group, and ended jobs of the program by its default action.",
            "Signal the program alone (tini without `-g`, `dumb-init --single-child`, `stopasgroup=false`, "
            "`kill $pid` instead of `kill 0`), or start the job in a session of its own (setsid).",
            "tini README, process group killing; dumb-init README, session behavior; supervisord, stopasgroup",
        ),
        KnownCause(
            "second-signal",
            "The program was signalled twice, and took the second signal for the order to leave at once.",
            "Let one sender signal it: an init that signals the group, or a parent that passes signals on, not both.",
            "tini README, process group killing; dumb-init README, session behavior",
        ),
        KnownCause(
            "signal-ignored",
            "The process ignores the signal, or keeps it blocked; both are inherited through exec.",
            "Restore the default before exec, or handle the signal.",
            "signal(7), execve(2)",
        ),
        KnownCause(
            "wrong-stopsignal",
            "The stop signal is one that nobody handles.",
            "Set STOPSIGNAL to the signal that the program handles.",
            "Dockerfile reference, STOPSIGNAL",
        ),
        KnownCause(
            "immediate-kill",
            "The stop signal itself is SIGKILL.",
            "Set STOPSIGNAL to a signal that can be handled.",
            "Dockerfile reference, STOPSIGNAL",
        ),
        KnownCause(
            "crash-on-stop",
            "A fault or an error in the shutdown path.",
            "Mend what the log shows.",
            "signal(7)",
        ),
        KnownCause(
            "oom-on-stop",
            "The OOM killer struck during the stop.",
            "More memory, or a shutdown that needs less.",
            "Docker: `State.OOMKilled`",
        ),
        KnownCause(
            "halted-by-fault",
            "A fault of the scenario held the program when the stop timeout was over, so it had no time to end.",
            "None is needed for this. To see how it goes on afterwards, give the fault an end (`for`).",
            "the scenario's `faults`",
        ),
        KnownCause(
            "maybe-by-fault",
            "It went on until SIGKILL under a fault of the scenario; whether it does so without it, is not known.",
            "Stop it without the fault. If it leaves then, it waits for what the fault takes away: give each wait "
            "for a disk, a name or a peer a limit, and count time by a monotonic clock (CLOCK_MONOTONIC, Python's "
            "`time.monotonic()`).",
            "the scenario's `faults`; clock_gettime(2)",
        ),
        KnownCause(
            "killed-by-fault",
            "A fault of the scenario sent SIGKILL before the program had ended.",
            "Finish sooner, or keep what matters in a form that survives SIGKILL: write ahead, rename when whole.",
            "the scenario's `faults`",
        ),
        KnownCause(
            "exited-before-stop",
            "PID 1 had exited with code 0 when the stop came, or nobody knows with which.",
            "Keep the program in the foreground; stop a job while it works.",
            "Docker Engine API: 304 on stop",
        ),
        KnownCause(
            "failed-before-stop",
            "PID 1 had failed when the stop came: it exited with another code than 0.",
            "Give it what it needs to start; its last words tell what that is.",
            "docker run reference, exit status",
        ),
        KnownCause(
            "child-killed-by-teardown",
            "PID 1, or the child of the init, exited first, and the kernel SIGKILLed the rest.",
            "`exec` the program, or pass the signal on and wait for it to exit.",
            "pid_namespaces(7)",
        ),
        KnownCause(
            "inner-kill",
            "A wrapper or supervisor inside the container sent SIGKILL by its own clock.",
            "Give it a longer timeout than the program needs, or start the program without it.",
            "su(1), timeout(1)",
        ),
        KnownCause(
            "fast-drop",
            "The program exited promptly and cut what was in flight.",
            "Finish what was accepted before leaving; for many servers another stop signal does that.",
            "gunicorn, signals: TERM and QUIT",
        ),
        KnownCause(
            "cut-by-hook",
            "Requests were cut while the hook before the stop ran (preStop of a pod, pre_stop of Compose).",
            "Let the hook only sleep, or close the port and finish what was accepted; the stop signal does the rest.",
            "Kubernetes, Container Lifecycle Hooks and Pod termination flow",
        ),
        KnownCause(
            "closes-port-early",
            "The program stops taking requests while a load balancer, which hears of the stop late, still sends some.",
            "Serve on for some seconds after the stop signal, or delay the signal: preStop sleep in Kubernetes.",
            "Elastic Load Balancing, deregistration delay; Kubernetes, Pod termination flow; amazon-ecs-agent#2316",
        ),
        KnownCause(
            "partial-drop",
            "What was running was finished, what was queued was cut.",
            "Stop accepting first, then answer what is in the queue.",
            "gunicorn#2529",
        ),
        KnownCause(
            "command-not-found",
            "The command does not exist in the image or is not executable.",
            "Name a command that exists in the image.",
            "exit codes 127 and 126",
        ),
        KnownCause("unknown", "The evidence does not tell.", "Look at the log and at the process table.", ""),
    )
}
