"""What a stop is judged by: every rule with its id, requirement, reason, source and example. Pure."""

from __future__ import annotations

from stop_harness.model import Severity
from stop_harness.verdict.fault_rules import FAULT_RULES
from stop_harness.verdict.load_balancer_rules import LOAD_BALANCER_RULES
from stop_harness.verdict.pod_rules import POD_RULES
from stop_harness.verdict.properties import PROPERTY_RULES
from stop_harness.verdict.rule import Rule

__all__ = ["RULES", "Rule"]

RULES = {
    rule.id: rule
    for rule in (
        Rule(
            "sigkill-needed",
            Severity.ERROR,
            "PID 1 exits by itself within the stop timeout.",
            "SIGKILL cannot be caught: open requests are cut, buffers are lost, locks stay behind.",
            "AWS CLI reference, `ecs stop-task`; docker stop",
            "A Python program without a handler as PID 1: SIGTERM, 30 s of nothing, SIGKILL, exit code 137.",
        ),
        Rule(
            "oom-during-stop",
            Severity.ERROR,
            "The OOM killer does not strike during the stop.",
            "An exit code of 137 or even 0 hides it; more time would not have helped.",
            "Docker: `State.OOMKilled` and the `oom` event; the kernel's log on the engine's machine",
            "A handler that copies 256 MiB to save them, with a limit of 64 MiB: exit code 137 after 0.3 s.",
        ),
        Rule(
            "crash-on-stop",
            Severity.ERROR,
            "The shutdown path ends without a fault (SIGSEGV, SIGABRT, …).",
            "A fault while stopping skips the rest of the clean-up.",
            "signal(7), exit codes 128 + n",
            "A handler that frees the same memory twice: exit code 139 (SIGSEGV).",
        ),
        Rule(
            "exit-code-not-accepted",
            Severity.ERROR,
            "The exit code is 0, 128 + stop signal, or one that the scenario's `exit_codes` accepts; or ruby's 1 or "
            "Go's 2, where PID 1 is that runtime, caught the signal, exited at once and wrote of no error. Where "
            "nobody said that it was ready, that is inconclusive: a program ends just so before it has its handler.",
            "Schedulers and step functions take any other code for a failure. As PID 1 ruby ends by SIGTERM with 1 and "
            "Go with 2, because the signal that they raise again is dropped.",
            "ecs_exporter#104, puma#3639",
            "A handler that raises an exception: exit code 1, and what it should have saved is not.",
        ),
        Rule(
            "lost-process",
            Severity.ERROR,
            "No process is still at work when PID 1 exits.",
            "The kernel SIGKILLs everything left in a PID namespace when its PID 1 exits, whatever the exit code says.",
            "pid_namespaces(7)",
            "An init over `sh -c 'server; true'`: the shell dies of SIGTERM, the init exits with 143 after "
            "0.1 s, and the server is SIGKILLed.",
        ),
        Rule(
            "lost-work",
            Severity.ERROR,
            "No process at work is ended by a signal that was meant for others, by a second signal, by a fault, or "
            "leaves with an error that PID 1's exit code hides.",
            "An init that signals the process group, a supervisor or a script's `kill 0` ends jobs by the signal's "
            "default action while the program that started them is still finishing; and many programs take a second "
            "signal for the order to leave at once. At work is who used the CPU, answered a client, was waited for, or "
            "whose loss the program itself reported. One that removes its files and raises the signal again, as gzip "
            "does, has finished as little as one without a handler. A shell's own `sleep` and an idle helper are not.",
            'tini README, "Process group killing"; dumb-init README, "Session behavior"; signal(7)',
            "`tini -g` over a program that waits for its job: SIGTERM ends the job, the program writes `job ended with "
            "-15` and exits with 0.",
        ),
        Rule(
            "work-in-doubt",
            Severity.ERROR,
            "Whether a process was at work when a signal that was meant for others ended it is known.",
            "One that slept for a time may have been between two steps of its work, or had nothing to do: neither a "
            "pass nor a failure follows. The same holds for one that handles the signal, was not idle and left with "
            "an error, and for one that its own program ended while it computed. Signal the program alone, or log what "
            "becomes of the job.",
            "signal(7); what each process slept in, by /proc/PID/wchan",
            "`dumb-init` over a program whose child was in a timed sleep: SIGTERM ended that child at once, and nobody "
            "wrote about it.",
        ),
        Rule(
            "ended-by-default",
            Severity.WARNING,
            "No process is ended by a signal that was meant for others, or by a second one, or leaves with an error.",
            "It may have been at work, though little speaks for it: it had an open connection, or was in a timed sleep "
            "that nobody waited for, or it left with an error at once, or was a `tail -f` that PID 1 left behind.",
            "signal(7)",
            "`tini -g` over a program with a helper that holds a connection to a database: SIGTERM ends the helper "
            "first.",
        ),
        Rule(
            "lost-request",
            Severity.ERROR,
            "Every request that was accepted is answered whole.",
            "An exit code of 0 says nothing about the clients: what was cut has to be repeated, or is lost.",
            "gunicorn#2529, uvicorn#2757",
            "A server that exits at once on SIGTERM: exit code 0 after 0.1 s, and the answer that was "
            "being written is cut.",
        ),
        Rule(
            "answer-end-unknown",
            Severity.ERROR,
            "It is known whether every answer was whole.",
            "Where only the close of the connection marks the end of an answer, the kernel closes it just so when the "
            "process ends in the middle. It counts as whole if PID 1, alone in the container, began to exit after the "
            "close, or if it was as long as the answer to the same request before the stop. Send Content-Length or "
            "chunks, and the end is known.",
            "RFC 9112, 6.3 and 8",
            "An HTTP/1.0 server that writes twenty rows and exits after six of them: the client sees an answer and its "
            "end.",
        ),
        Rule(
            "nothing-held",
            Severity.ERROR,
            "What the scenario's traffic is to hold stands open when the stop signal comes.",
            "A stop without the connection that was asked for does not show what such a connection does to a stop.",
            "the scenario's `traffic`",
            "`stream` traffic to a path whose answer is over in a millisecond; `keep_alive` traffic to a server that "
            "answers with `Connection: close`.",
        ),
        Rule(
            "no-goodbye",
            Severity.WARNING,
            "Clients that hold a WebSocket or an HTTP/2 connection are told that the server goes away.",
            "The close frame 1001 and GOAWAY let a client connect elsewhere at once and know what was processed. A "
            "connection that just ends looks like a fault of the network.",
            "RFC 6455, 7.4.1; RFC 9113, 6.8",
            "A server that waits for its requests and then exits; its WebSockets, which it has handed over, are cut.",
        ),
        Rule(
            "event-cut",
            Severity.WARNING,
            "An event stream ends between two events.",
            "A client drops an event whose empty line has not come. It connects again, and gets the event only "
            "if the server can send again what comes after `Last-Event-ID`.",
            "HTML standard, 9.2",
            "A server that exits while it writes the `data:` lines of an event.",
        ),
        Rule(
            "stream-unended",
            Severity.WARNING,
            "An event stream that comes in chunks ends with the last chunk, which is empty.",
            "Without it the answer is incomplete, and the client cannot tell the server's farewell from a fault of the "
            "network: `fetch` fails, and a proxy in between logs an error. End each open answer in the handler.",
            "RFC 9112, 7.1 and 8",
            "A Node.js server that calls `process.exit()` on SIGTERM and ends none of its open answers.",
        ),
        Rule(
            "error-answer",
            Severity.WARNING,
            "Requests accepted before the stop are not answered with a server error.",
            "The request was answered, so it is not lost; but it failed, and would not have without the stop.",
            "RFC 9110, 15.6",
            "A front end whose back end exits first answers 502 to what it had accepted.",
        ),
        Rule(
            "unanswered-request",
            Severity.WARNING,
            "No request is without an answer when the container is gone.",
            "Its connection was neither answered nor closed: whether it was ever accepted is not known.",
            "tcp(7); listen(2), backlog",
            "A request that waited in the queue of connections of a server that had stopped accepting.",
        ),
        Rule(
            "no-request-in-flight",
            Severity.WARNING,
            "The scenario's traffic has a request in flight when the stop signal comes.",
            "A stop between two requests does not show what happens to one: ask for something that takes longer.",
            "the scenario's `traffic`",
            "Requests for `/` that are answered in a millisecond, where `/report?year=2025` takes two seconds.",
        ),
        Rule(
            "not-witnessed",
            Severity.ERROR,
            "What became of the other processes is proved, or PID 1 was alone, or an init whose only child it awaits.",
            "The kernel SIGKILLs what PID 1 leaves behind. A table of processes shows who was there, not how they "
            "ended, so that neither a pass nor a failure follows. Who was alone at the last look may have had company "
            "between two looks: that is not excluded.",
            "pid_namespaces(7)",
            "On an engine whose kernel is out of reach: PID 1 exited with 0, and when the stop began two workers were "
            "there. As root on that machine, on Linux 6.6 or newer, or with `--witness` their ends are on record.",
        ),
        Rule(
            "late-signal",
            Severity.ERROR,
            "The stop signal leaves the engine within a second of the stop call, and before the next of several "
            "planned moments; or the signal was handled already when the stop was called.",
            "What the stop was to meet may be over by then, such as a start whose handler is not there yet. A stop "
            "that goes well at another moment says nothing about the planned one.",
            "measured: Podman performs three stops for each CPU and one more at a time; the others wait",
            "Podman with `--jobs 35` on two CPUs: the signal left 28 s after the call, when the handler was there.",
        ),
        Rule(
            "signal-held-back",
            Severity.NOTE,
            "The stop signal leaves the engine within a second of the stop call.",
            "Somebody handled the signal when the stop was called, by the look at the process table before it: so the "
            "late signal met what it would have met in time. The shutdown duration does not contain the wait.",
            "measured: a machine that is emulated, four containers at once",
            "A server was ready and had its handler; the signal left 1.3 s after the call.",
        ),
        Rule(
            "signal-time-unknown",
            Severity.NOTE,
            "The record shows when the stop signal left an engine that may hold it back.",
            "The shutdown duration contains that wait, and the moment of the stop is not known.",
            "Podman reports no signals; this machine's kernel tells them to root",
            "Podman without root: left 5.0 s after the stop call; the signal may have left at any time in between.",
        ),
        Rule(
            "suspected-process",
            Severity.WARNING,
            "Nobody was seen at work just before PID 1 exited.",
            "A hint where nothing is proved: the parent dies of the stop signal, or the process does not handle it. "
            "Of 18 stops that lost one it names 9, and 4 of 18 that did not.",
            "pid_namespaces(7); measured",
            "On an engine whose kernel is out of reach: PID 1 exited with 0, and a moment before a worker was "
            "still there.",
        ),
        Rule(
            "not-running",
            Severity.ERROR,
            "The container is running when the stop comes.",
            "The stop call reports success for a container that is already gone.",
            "Docker Engine API: 304 on stop",
            "A start script that puts its service into the background and ends: the container is over before the stop.",
        ),
        Rule(
            "command-not-found",
            Severity.ERROR,
            "The command exists in the image and is executable.",
            "Nothing ran, so nothing was stopped.",
            "exit codes 127 and 126",
            "`command: [servr]`: exit code 127.",
        ),
        Rule(
            "slow-stop",
            Severity.ERROR,
            "The shutdown takes no longer than the scenario's `within`.",
            "A deployment waits for every stop.",
            "the scenario",
            "`within: 5s`, and the container exited gracefully after 7.2 s.",
        ),
        Rule(
            "not-ready",
            Severity.ERROR,
            "The container becomes ready before it is stopped.",
            "A stop during start-up measures the start-up, not the shutdown.",
            "the scenario's `ready`",
            "`ready: {tcp: 8000}`, and nothing listens there within 30 s.",
        ),
        Rule(
            "stopped-too-early",
            Severity.ERROR,
            "The program has its handler when it is stopped, where nobody has said when it is ready.",
            "The kernel drops a signal that PID 1 has no handler for. Who gets a handler later was still starting, and "
            "that start is not the shutdown that was asked about. The runtimes of Ruby and Go catch signals from their "
            "first moment on and end the program, so that their exit code does not tell whether a handler was to come.",
            "the process table at the stop and shortly before the stop timeout; pid_namespaces(7)",
            "A start script that migrates a database for 20 s and then runs the server, in an image without EXPOSE or "
            "a health check.",
        ),
        Rule(
            "ready-unknown",
            Severity.NOTE,
            "It is known when the container is ready: by the scenario's `ready`, its health check, or a declared port.",
            "Without one of them it is stopped by time. A stop during the start may meet no handler, or no work.",
            "the scenario's `ready`; Dockerfile reference, EXPOSE and HEALTHCHECK",
            "`check IMAGE` of a worker without ports: stopped 1 s after its start.",
        ),
        Rule(
            "not-measured",
            Severity.ERROR,
            "The engine starts the container and stays reachable until it is gone.",
            "A trial that did not run to its end says nothing about the container.",
            "the engine's own message",
            "The port is taken by another container, or the engine was restarted during the stop.",
        ),
        Rule(
            "killed-by-somebody",
            Severity.ERROR,
            "Nobody but the stop itself and the OOM killer acts on the container during a stop.",
            "A second signal or a pause that others asked the engine for says nothing about the container. The kernel "
            "drops a SIGKILL for PID 1 from its own container, so one that is neither the engine's nor the OOM "
            "killer's came from outside as well. A bare exit code 137 cannot be told from it.",
            "pid_namespaces(7); the engine's events",
            "`docker stop`, `docker kill`, `docker pause` or `kill -9` from another terminal while the stop waits.",
        ),
        Rule(
            "dependency-gone",
            Severity.ERROR,
            "The containers that run beside the one under test outlast its stop.",
            "A container that loses its database during its own stop does what it does without a database, and nobody "
            "can say what it would have done with it.",
            "docker compose stop, which leaves the other services running",
            "`web` is stopped alone, and its broker crashes two seconds later.",
        ),
        Rule(
            "hook-failed",
            Severity.ERROR,
            "Hooks before the stop succeed.",
            "Compose does not stop a service whose `pre_stop` hook exits with another code than 0, nor what that "
            "service depends on: `docker compose down` ends with an error, and they go on running.",
            "docker/compose, pkg/compose/hook.go and stop.go",
            "`pre_stop: [{command: [./drain]}]`, and `./drain` is not executable in the image.",
        ),
        Rule(
            "hook-ignored",
            Severity.WARNING,
            "A preStop hook of a pod succeeds.",
            "A kubelet sends the stop signal all the same, at once: whatever the hook was to wait for, nobody waited.",
            "kubernetes/kubernetes, kuberuntime_container.go: killContainer",
            '`preStop: {exec: {command: [sleep, "10"]}}` in an image without `sleep`.',
        ),
        Rule(
            "hook-outlasts-grace",
            Severity.WARNING,
            "A preStop hook of a pod ends within the grace period, and leaves the container time to stop.",
            "Both share terminationGracePeriodSeconds. A hook that takes all of it leaves the container two seconds.",
            "kubernetes/kubernetes, kuberuntime_container.go: killContainer, minimumGracePeriodInSeconds",
            "`terminationGracePeriodSeconds: 5` and `preStop: {sleep: {seconds: 5}}`.",
        ),
        Rule(
            "evidence-missing",
            Severity.ERROR,
            "The engine's record shows how and when PID 1 exited, without contradiction.",
            "A verdict without evidence would be a guess.",
            "the engine's events and exit record",
            "Exit code 137, and the engine's event stream broke: SIGKILL or not, nobody knows.",
        ),
        Rule(
            "pid1-rules-not-reproduced",
            Severity.WARNING,
            "The subject runs as PID 1 of a PID namespace.",
            "The kernel drops signals that PID 1 has no handler for; outside a namespace they end the process.",
            "pid_namespaces(7)",
            "The `process` engine without namespaces: SIGTERM ends a program there that a container would keep.",
        ),
        Rule(
            "sigkill-inferred",
            Severity.NOTE,
            "The engine reports its SIGKILL.",
            "Without a kill event SIGKILL is inferred from exit code 137 at the stop timeout.",
            "Podman's compatible API sends no kill events during a stop",
            "Podman: exit code 137, 10.02 s after a stop with 10 s, and no event that says why.",
        ),
        Rule(
            "cut-short",
            Severity.NOTE,
            "A stop is measured to its end.",
            "`--fast` ends one whose process table leaves no doubt. How long it would have taken is not known.",
            "kernel/signal.c, sig_ignored(): what PID 1 has no handler for is dropped",
            "`--fast`: PID 1 has no handler, 1.2 s after the stop signal it sleeps on; the other 28.8 s "
            "were not waited for.",
        ),
        Rule(
            "derived",
            Severity.NOTE,
            "A stop is performed.",
            "`--infer` performs the one with the longest stop timeout. A container does not see its timeout, so the "
            "shorter stops would have gone the same way until their SIGKILL, which is inferred.",
            "docker stop: the timeout is the engine's own affair",
            "`--infer` with 3 s and 30 s: it exited 12 s after the stop signal, so it would have been killed at 3 s.",
        ),
        Rule(
            "not-derivable",
            Severity.ERROR,
            "The longer stop decides how the shorter one would have ended.",
            "Engines send SIGKILL 10 to 35 ms after the stop timeout, and clocks err: who exits within 50 ms of it "
            "may exit by itself or be killed. And what the longer stop leaves open stays open.",
            "measured, Docker 20.10",
            "`--infer` with 3 s and 30 s: it exited 2.98 s after the stop signal. Perform it: without `--infer`.",
        ),
        Rule(
            "non-zero-exit",
            Severity.NOTE,
            "An orderly stop ends with exit code 0.",
            "143 is accepted as the mark of SIGTERM, but some dashboards read any non-zero code as a failure.",
            "langgraphjs#2446",
            "A JVM that drained and closed everything: exit code 143.",
        ),
        Rule(
            "not-applied",
            Severity.WARNING,
            "The container gets everything that its file asks for.",
            "A Compose file or a task definition may ask for what one container on this engine cannot have. A note "
            "where no outcome hangs on it; where one may be another, that outcome is inconclusive.",
            "the Compose specification; Amazon ECS API, RegisterTaskDefinition",
            "`depends_on: [db]`: the service is stopped alone, and leaves at once because it has no connection to "
            "drain.",
        ),
        Rule(
            "stop-timeout-out-of-range",
            Severity.ERROR,
            "A container's `stopTimeout` is a value that its platform takes: more than 0, and 2 to 120 s on Fargate.",
            "0 counts as not set, so the default of 30 s applies; Fargate refuses what is outside of its range.",
            "Amazon ECS API, ContainerDefinition.stopTimeout; ECS agent, docker_task_engine.go",
            '`"stopTimeout": 300` in a task definition that requires FARGATE.',
        ),
        Rule(
            "chain-exceeds-limit",
            Severity.WARNING,
            "A task can be stopped within two minutes, whatever its containers do.",
            "A container is told to stop only when those that depend on it are gone, so that their stop timeouts add "
            "up; a Spot notice comes two minutes before the end.",
            "ECS agent, dependencygraph/graph.go; Amazon ECS, Fargate Spot termination notices",
            "app 60 s, proxy 60 s and log router 30 s, each depending on the next: up to 150 s.",
        ),
        Rule(
            "essential-sidecar",
            Severity.WARNING,
            "Only a container whose end is to end the task is essential.",
            "When an essential container ends, by whatever exit code, ECS stops all others; `essential` is true where "
            "nothing is written.",
            "Amazon ECS API, ContainerDefinition.essential",
            "A log router without `essential: false` that exits with code 0: the whole task is stopped.",
        ),
        Rule(
            "init-process-missing",
            Severity.WARNING,
            "A shell is not PID 1, or an init stands before it.",
            "A shell passes no signal on to its command, and without `initProcessEnabled` it is PID 1.",
            "Amazon ECS API, LinuxParameters.initProcessEnabled; Dockerfile reference, shell form",
            '`"command": ["sh", "-c", "migrate && server"]` without `linuxParameters`.',
        ),
        *PROPERTY_RULES,
        *POD_RULES,
        *FAULT_RULES,
        *LOAD_BALANCER_RULES,
    )
}

UNEXPECTED = Rule(
    "unexpected-outcome",
    Severity.ERROR,
    "The outcome is one that the scenario expects.",
    "A container that is no longer killed where its scenario says so has changed, for better or worse.",
    "the scenario's `expect`",
    "`expect: {outcome: killed}`, and it exited gracefully.",
)
"""For a trial that failed without breaking any other rule."""
