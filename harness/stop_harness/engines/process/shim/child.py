"""What the shim's forked children do until exec: turn into the subject, or into a command beside it.

Standard library only and imported by `engines/process/shim/main.py` in its own process.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import sys

from . import kernel

TYPE_CHECKING = False  # the typing module costs 3 ms of each start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


LINUX = sys.platform == "linux"


def become_subject(request: dict[str, Any], output: int, trouble: int) -> NoReturn:
    """PID 1 of the namespace, with a /proc of its own. An empty `argv` only tries what can be refused."""
    _become(request, output, trouble, kernel.mount_proc if request["namespaces"] else None)


def become_companion(request: dict[str, Any], argv: tuple[str, ...], subject: int, trouble: int) -> NoReturn:
    """A command beside the subject that `request` started, like `docker exec`; its output goes nowhere.

    A child of the shim is in the subject's PID, network and user namespace by birth; the mounts are PID 1's own.
    """
    enter = (lambda: kernel.enter_mounts_of(subject)) if request["namespaces"] else None
    _become(request | {"argv": argv}, None, trouble, enter)


def _become(request: dict[str, Any], output: int | None, trouble: int, enter: Callable[[], None] | None) -> NoReturn:
    """`output` None: the output goes nowhere. What goes wrong is written to `trouble`, which exec closes."""
    stage = "setup"
    try:
        if LINUX:
            kernel.kill_when_parent_dies()
        os.write(trouble, b" ")  # fails if the parent died before the line above took effect
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(os.devnull, os.O_WRONLY) if output is None else output
        os.dup2(output, 1)
        os.dup2(output, 2)
        if enter is not None:
            stage = "namespaces"
            enter()
        if not request["argv"]:
            os._exit(0)
        stage = "directory"
        os.chdir(request["directory"])
        # A crash must not leave a core file among the user's sources.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        stage = "exec"
        restore_signals()
        _execute(request["argv"], dict(request["environment"]), request.get("program"))
    except OSError as error:
        reply = {"failed": stage, "errno": error.errno or 0, "message": error.strerror or str(error)}
        os.write(trouble, json.dumps(reply).encode())
    except BaseException as error:  # noqa: BLE001 - the child must never return into the parent's code
        reply = {"failed": stage, "errno": 0, "message": repr(error)}
        os.write(trouble, json.dumps(reply).encode())
    os._exit(127)


def _execute(argv: tuple[str, ...], environment: dict[str, str], program: str | None) -> None:
    """`program`: the executable itself in base64, which then is a file nowhere, so that nobody has to delete it."""
    if program is None:
        os.execvpe(argv[0], argv, environment)  # nosec B606 # the subject itself
    file = os.memfd_create(argv[0])  # closed by exec
    os.write(file, base64.b64decode(program))
    os.execve(file, argv, environment)  # nosec B606 # the subject itself


def trouble_of(end: int) -> dict[str, Any] | None:
    """What a child wrote there before it gave up, None once it has called exec."""
    with open(end, "rb") as file:
        failure = file.read().strip()  # ends when exec closes the other end; the blank is the sign of life
    return dict(json.loads(failure)) if failure else None


def restore_signals() -> None:
    """Default dispositions and an empty mask, as a container's first process has them.

    Python ignores SIGPIPE and SIGXFSZ, `nohup` SIGHUP, and exec hands ignored signals on.
    """
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
