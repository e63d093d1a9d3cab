"""What a manifest of Kubernetes is judged by before its pod runs. Pure."""

from __future__ import annotations

from stop_harness.model import Severity
from stop_harness.verdict.rule import Rule

POD_RULES = (
    Rule(
        "grace-shorter-than-pre-stop",
        Severity.ERROR,
        "`terminationGracePeriodSeconds` is longer than what `preStop` sleeps, by the time that the container needs.",
        "The hook and the stop have one budget. A hook that uses it up is cut off, the container gets its stop signal "
        "when the budget is over, and SIGKILL 2 s later. A longer `sleep` is refused by the API server.",
        "Kubernetes, Pod Lifecycle, termination of Pods; pkg/kubelet/kuberuntime, killContainer and "
        "minimumGracePeriodInSeconds",
        '`preStop: {exec: {command: [sleep, "30"]}}` with the default grace period of 30 s: 2 s are left.',
    ),
    Rule(
        "endpoint-removal-not-awaited",
        Severity.WARNING,
        "A container that a Service sends to goes on serving for some seconds after its deletion began: by a `preStop` "
        "that sleeps, or by itself.",
        "The removal of its endpoint goes through the API server to every node and load balancer while the stop signal "
        "is on its way already. What closes its port at once refuses the connections that still come.",
        "Kubernetes, Pod Lifecycle, termination of Pods; kubernetes/enhancements, KEP-3960",
        "A Deployment behind a Service without `lifecycle`: requests of the next seconds are refused.",
    ),
    Rule(
        "shell-form-command",
        Severity.WARNING,
        "The command of a container is no line for a shell, or the line ends with `exec`.",
        "A shell passes no signal on to its command, and a pod has no init. As PID 1 the shell drops SIGTERM; with "
        "`shareProcessNamespace` it dies of it and the command is SIGKILLed.",
        "Kubernetes, Define a Command and Arguments for a Container; pid_namespaces(7)",
        '`command: [sh, -c, "migrate && server"]`: 30 s of nothing, then SIGKILL.',
    ),
    Rule(
        "hook-cannot-run",
        Severity.ERROR,
        "A hook can be performed: an `exec` is a program and its arguments, and `tcpSocket` is none.",
        "Nobody splits the words of an `exec`, runs a shell for it or expands `$(NAME)`. A hook that fails is reported "
        "as FailedPreStopHook, and the stop signal follows at once, as if there were none.",
        "Kubernetes API, LifecycleHandler and ExecAction; pkg/kubelet/lifecycle/handlers.go",
        '`command: ["sleep 10"]`: there is no program of that name, and nothing is waited for.',
    ),
    Rule(
        "stop-signal-is-new",
        Severity.NOTE,
        "`lifecycle.stopSignal` is understood by the cluster.",
        "Kubernetes has it since 1.33, behind the feature gate ContainerStopSignals, which is off by default up to "
        "1.36. Without it the image's STOPSIGNAL is sent, else SIGTERM.",
        "kubernetes/enhancements, KEP-4960",
        "`stopSignal: SIGQUIT` for nginx on a cluster of 1.32: SIGTERM ends its connections.",
    ),
)
