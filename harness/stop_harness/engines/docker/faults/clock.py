"""A clock that jumps, as a program sees it that loads libfaketime.

The clock of a container is that of its machine, and a time namespace has none of its own for the time of day. So the
library, which has to be in the image, is loaded into the container's programs when they start, and asks a file in
/dev/shm at each look at a clock; without the file it shows the true time. It shows all clocks alike: CLOCK_MONOTONIC
counts from 1970 then, too, and jumps with the others (0.9.10; told to leave that one alone, it breaks the sleeping of
programs). Source: its README.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from stop_harness.engines.docker.faults.image_contents import ImageContents
from stop_harness.engines.docker.faults.scene import FaultScene
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.linux import tmpfs
from stop_harness.model import NS_PER_S, Fault, FaultKind, Trial

PLACE, NAME = "/dev/shm", ".stop-harness-clock"  # nosec B108 # of the container, which has it for itself
FILE = f"{PLACE}/{NAME}"

_WRITE = 'printf %s "$1" > "$2.new" && mv "$2.new" "$2"'

_CHECK = """\
real=$(LD_PRELOAD= date +%s) && shown=$(date +%s) || exit 2
late=$((shown - real - $1)); [ "$late" -ge -1 ] && [ "$late" -le 1 ] || exit 3
for maps in /proc/[0-9]*/maps; do
  [ "$maps" = "/proc/$$/maps" ] || ! grep -q libfaketime "$maps" 2>/dev/null || exit 0
done; exit 4"""

_NOT_SHOWN = {
    2: "there is no `date` in the image by which it could be seen",
    3: "`date` in the container still shows the true time",
    4: "its program has not loaded libfaketime: it is statically linked, or for another C library",
}


def with_library(trial: Trial, contents: ImageContents) -> Trial:
    """The trial with a container that can be shown another time; the same where its clock does not jump."""
    scenario = trial.scenario
    if contents.faketime is None or not any(fault.kind is FaultKind.CLOCK for fault in scenario.faults):
        return trial
    given = dict(scenario.subject.environment)
    preload = " ".join(filter(None, (contents.faketime, given.get("LD_PRELOAD", contents.preload))))
    given |= {"LD_PRELOAD": preload, "FAKETIME_TIMESTAMP_FILE": FILE, "FAKETIME_NO_CACHE": "1"}
    subject = replace(scenario.subject, environment=tuple(given.items()))
    return replace(trial, scenario=replace(scenario, subject=subject))


def jump(scene: FaultScene, fault: Fault) -> Applied:
    """Seen by `date` in the container, and by the library among what one of its processes has loaded."""
    seconds = round((fault.amount or 0) / NS_PER_S)
    _show(scene, seconds)
    begun_ns = time.time_ns()

    def undo() -> None:
        scene.undo_while_it_runs(partial(_show, scene, 0))

    code = scene.shell(_CHECK, str(seconds), user="")
    if code != 0:
        undo()
        raise FaultNotApplied(_NOT_SHOWN.get(code, f"the look at its clock exited with code {code}"))
    return Applied("`date` in the container, and libfaketime loaded", undo, begun_ns=begun_ns)


def _show(scene: FaultScene, seconds: int) -> None:
    """From now on: so many seconds more than it is."""
    text = f"{seconds:+d}"
    if scene.is_root_here and scene.pid_one is not None:
        try:
            tmpfs.put(scene.pid_one.pid, PLACE, NAME, text.encode())
        except tmpfs.NotThere as error:
            raise FaultNotApplied(str(error)) from None
        except OSError as error:
            raise FaultNotApplied(f"{FILE} could not be written: {error.strerror}") from None
    elif scene.shell(_WRITE, text, FILE, user="") != 0:
        raise FaultNotApplied(f"{FILE} could not be written in the container")
