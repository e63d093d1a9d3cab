"""A task from StopTask to STOPPED: polling, and what is seen meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from stop_harness.ecs import stop_timeouts
from stop_harness.ecs_client import records
from stop_harness.ecs_client.failures import ClientFailure, Kind
from stop_harness.ecs_client.looks import Looking
from stop_harness.ecs_client.measure import Followed, Sighting
from stop_harness.ecs_client.records import STOPPED, Definition, Task
from stop_harness.ecs_client.service import Ecs
from stop_harness.model import NS_PER_S
from stop_harness.wording import count_of, printable

POLL_S = 1.0
"""DescribeTasks is allowed twenty times a second for all clients of an account and region together."""

OWN_POLL_S = 0.2
REFRESH_S = 0.25
UNREACHABLE_PATIENCE_S = 60.0
"""How long ECS may be out of reach while a task stops."""

BEYOND_TIMEOUTS_S = 3600.0
"""How long after all its stop timeouts a task is given up: load balancers let go within an hour, and so long does ECS
remember a stopped task."""

DRAINING = "DEACTIVATING"
"""lastStatus while a load balancer lets go of the task, before the stop signal."""


class LostSight(Exception):
    """The task was told to stop, and what came of it is not known."""


def follow(
    ecs: Ecs, answer: dict[str, Any], cluster: str | None, looking: Looking, *, called_at_ns: int, width: int
) -> tuple[dict[str, Any], Followed]:
    """The final task as DescribeTasks shows it, and what was seen of its stop. `answer`: StopTask's, to a call that was
    made at `called_at_ns` of the monotonic clock; `looking` has looked before it.

    Raises LostSight where the end cannot be seen, ClientFailure where ECS is out of reach.
    """
    if not answer.get("task", {}).get("taskArn"):
        text = "The answer to StopTask names no task: is it ECS that answers at this endpoint?"
        raise ClientFailure(Kind.BROKEN_SERVICE, text)
    following = _Following(
        ecs, cluster, records.task(answer["task"]), looking, begun_ns=called_at_ns, display=_Display(width)
    )
    last = following.until_stopped(answer["task"])
    own = ecs.own_evidence(following.before.arn)
    followed = Followed(
        before=following.before,
        after=records.task(last),
        called_at_ns=called_at_ns,
        definitions=following.definitions,
        evidence=None if own is None else records.evidence(*own, ecs.url),
        sightings=following.sightings,
        looks=looking.seen(),
        drained_until_ns=following.drained_until_ns,
        every_s=following.pause_s,
        url=ecs.url,
        region=ecs.region,
    )
    return last, followed


class _Following:
    """One task, and what polling has seen of it. `definitions` is None where they may not be read."""

    def __init__(
        self, ecs: Ecs, cluster: str | None, before: Task, looking: Looking, *, begun_ns: int, display: _Display
    ) -> None:
        self._ecs, self._cluster, self._looking, self._display = ecs, cluster, looking, display
        self._begun_ns = self._looked_ns = begun_ns
        self.pause_s = OWN_POLL_S if ecs.is_ours else POLL_S
        self._already = {item.name for item in before.containers if item.last_status == STOPPED}
        self.before = before
        self.definitions = self._read_definitions()
        self.sightings: dict[str, Sighting] = {}
        self.drained_until_ns: int | None = None

    def until_stopped(self, seen: dict[str, Any]) -> dict[str, Any]:
        """The task when it has STOPPED."""
        self._display.begin(self.before)
        try:
            while (task := records.task(seen)).last_status != STOPPED:
                if time.monotonic_ns() - self._begun_ns > self._patience_s() * NS_PER_S:
                    raise LostSight(f"the task is still {task.last_status} long after its stop timeouts")
                _wait(self.pause_s, self._display)
                self._looking.during_stop()
                seen = self._look() or seen
            return seen
        finally:
            self._display.end()

    def _look(self) -> dict[str, Any] | None:
        """The task as it is now; None if ECS could not be reached this time."""
        try:
            seen = self._ecs.describe_task(self._cluster, self.before.arn)
        except ClientFailure as failure:
            if failure.kind not in {Kind.UNREACHABLE, Kind.BROKEN_SERVICE}:
                raise LostSight(f"the task cannot be followed: {failure}") from None
            if time.monotonic_ns() - self._looked_ns > UNREACHABLE_PATIENCE_S * NS_PER_S:
                text = f"{failure}\nThe task was told to stop; how it took that is not known."
                raise ClientFailure(failure.kind, text) from None
            return None
        if seen is None:
            raise LostSight("ECS does not know the task any more")
        self._see(records.task(seen))
        return seen

    def _see(self, task: Task) -> None:
        now_ns = time.monotonic_ns()
        for item in task.containers:
            if item.last_status == STOPPED and item.name not in {*self.sightings, *self._already}:
                self.sightings[item.name] = Sighting(now_ns, now_ns - self._looked_ns)
        if task.last_status == DRAINING:
            self.drained_until_ns = now_ns
        self._looked_ns = now_ns
        self._display.show(task)

    def _patience_s(self) -> float:
        definitions = (self.definitions or {}).values()
        return sum(it.stop_timeout_s or stop_timeouts.DEFAULT_STOP_TIMEOUT_S for it in definitions) + BEYOND_TIMEOUTS_S

    def _read_definitions(self) -> dict[str, Definition] | None:
        if self.before.definition_arn is None:
            return None
        try:
            return records.definitions(self._ecs.container_definitions(self.before.definition_arn))
        except (ClientFailure, ValueError):
            return None


def _wait(pause_s: float, display: _Display) -> None:
    """Until the next look; a terminal's clock goes on meanwhile."""
    until = time.monotonic() + pause_s
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, REFRESH_S))
        display.refresh()


class _Display:
    """Standard error: one line that changes on a terminal, one line for each change elsewhere."""

    def __init__(self, width: int) -> None:
        self._live = sys.stderr.isatty()
        self._width = width
        self._begun = time.monotonic()
        self._task: Task | None = None
        self._shown: dict[str, str] = {}

    def begin(self, task: Task) -> None:
        """What is followed."""
        self._task = task
        self._shown = dict(_states(task))
        stopped = task.last_status == STOPPED
        self._print(heading(task.id, len(task.containers), stopped=stopped))
        self.refresh()

    def show(self, task: Task) -> None:
        """What is new."""
        self._task = task
        if self._live:
            self.refresh()
            return
        for name, state in _states(task):
            if self._shown.get(name) != state:
                self._shown[name] = state
                self._print(f"{time.monotonic() - self._begun:6.1f} s  {printable(name)} {state}")

    def refresh(self) -> None:
        """The terminal's line, with the time that has passed."""
        if self._live and self._task is not None:
            states = [state for state in _states(self._task) if state[0] != TASK]
            line = live_line(states, self._task.last_status, time.monotonic() - self._begun, self._width)
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._live:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


TASK = "task"


def _states(task: Task) -> list[tuple[str, str]]:
    """The task and its containers, and what each is."""
    states = [(TASK, task.last_status)]
    for item in task.containers:
        known = f" ({item.exit_code})" if item.exit_code is not None else ""
        states.append((item.name, f"{item.last_status}{known}"))
    return states


def live_line(containers: Sequence[tuple[str, str]], status: str, elapsed_s: float, width: int) -> str:
    """What a terminal shows meanwhile, cut to its width: `STOPPING for 12 s: app RUNNING, db STOPPED (0)`."""
    parts = ", ".join(f"{printable(name)} {state}" for name, state in containers)
    line = f"{status} for {elapsed_s:.0f} s: {parts}"
    return line if len(line) < width else line[: width - 2] + "…"


def heading(task_id: str, containers: int, *, stopped: bool) -> str:
    """What is followed."""
    return f"task {task_id}: {count_of(containers, 'container')}, {'had stopped' if stopped else 'asked to stop'}"
