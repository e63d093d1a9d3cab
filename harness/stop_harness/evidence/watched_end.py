"""What an engine's events tell of a container that somebody else ended → what kind of end it was, and, of a stop, the
Observation that the judge takes. Pure.

Measured on Docker 20.10: `docker stop` gives `kill` (stop signal), at the stop timeout `kill` (9), `die`, and 50 to
70 ms later `stop`; `docker restart` the same and then `start`; `docker kill` no `stop`; `docker rm -f` `kill` (9),
`die`, `destroy`; an exit by itself only `die`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from stop_harness import signals
from stop_harness.evidence.lost_processes import first_names
from stop_harness.model import (
    MOST_NAMES,
    NS_PER_MS,
    NS_PER_S,
    EndKind,
    EngineInfo,
    Event,
    EventKind,
    Looks,
    Observation,
    ProcessFate,
    StopRecord,
    TimeoutSource,
    Watched,
)

SCENARIO = "watch"
"""Name of the scenario that a watched stop belongs to."""

ENGINE_STOP_TIMEOUT_S = 10
"""Of a container without one of its own: Docker's default (`docker stop --time`)."""

SIGKILL_LATE_NS = 150 * NS_PER_MS
"""Engines send SIGKILL 10 to 35 ms after the deadline, which is in whole seconds; more on a busy machine."""
STAMP_EARLY_NS = 10 * NS_PER_MS
"""How far the stamp of the stop signal may lie behind the signal."""
CONFIGURED_LATE_NS = 500 * NS_PER_MS
"""A SIGKILL so long after the stop timeout that is configured is still that of the deadline."""

SAME_STOP_NS = 60 * NS_PER_S
"""Two stop signals less than this apart belong to one stop; an earlier one was sent for another reason."""
AT_LAST_NS = 600 * NS_PER_S
"""Whoever exits so long after a stop signal, and no stop call has returned, did so by itself."""
PROMPTED_NS = 10 * NS_PER_S
"""An exit so soon after a signal that is none of a stop was caused by it."""

ASKED_TO_END = frozenset(signals.NUMBERS[name] for name in ("HUP", "INT", "QUIT", "TERM", "KILL"))


@dataclass(frozen=True)
class StopCall:
    """A stop that was asked for in our hearing, by wall clock. `timeout_s` None: it named none, so that what is
    configured holds; negative: it waits for ever."""

    at_ns: int
    timeout_s: int | None


@dataclass(frozen=True)
class WatchedLife:
    """What was told of one container from its start to its end.

    `container`: its name. `image`: as it was asked for. `stop_signal`: its own. `stop_timeout_s`: its own, None where
    it has none. `environment`: what it was given beside the image's own. `events`: signals, pauses and OOM kills that
    the engine reported since its start. `stop_told`: a `stop` event followed, so that somebody had asked for it.
    `exited`: when; None: nobody told. `oom_killed` None: the engine cannot tell. `complete`: the engine was listened to
    without a gap; `seen` False: not when it ended. `heard_since_ns`: wall clock since when signals are heard; None:
    since its start. `removed`: nothing could be asked about it any more then.

    `calls`: stop calls that were heard. `looks`, `looked_ns`: as in an observation. `lost_processes`: who was sent
    SIGKILL since the stop signal, PID 1 aside; None: nobody could see that. `fates`: of those and of the others as far
    as they are known.
    """

    container_id: str
    container: str
    image: str
    stop_signal: int = signals.SIGTERM
    stop_timeout_s: int | None = None
    environment: tuple[tuple[str, str], ...] = ()
    events: tuple[Event, ...] = ()
    stop_told: bool = False
    exited: Event | None = None
    exit_code: int | None = None
    oom_killed: bool | None = None
    complete: bool = True
    seen: bool = True
    heard_since_ns: int | None = None
    removed: bool = False
    calls: tuple[StopCall, ...] = ()
    looks: Looks = field(default_factory=Looks)
    looked_ns: int | None = None
    lost_processes: tuple[str, ...] | None = None
    fates: tuple[ProcessFate, ...] | None = None
    load_average: float | None = None


@dataclass(frozen=True)
class WatchedEnd:
    """How a container ended that somebody else stopped, or that ended by itself.

    `environment`: what it was given in variables, whose values must not be shown. `at_ns`: when, ns since the epoch;
    None: nobody told. `observation`: of a stop, which the judge takes; None for any other end.
    """

    kind: EndKind
    container_id: str
    container: str
    image: str
    exit_code: int | None
    at_ns: int | None
    environment: tuple[tuple[str, str], ...] = ()
    observation: Observation | None = None


def end(life: WatchedLife, engine: EngineInfo) -> WatchedEnd:
    """What the end of one container was. `engine`: as it can be believed for a stop that it only reports."""
    what = kind(life)
    return WatchedEnd(
        kind=what,
        container_id=life.container_id,
        container=life.container,
        image=life.image,
        exit_code=life.exit_code,
        at_ns=life.exited.at_ns if life.exited is not None else None,
        environment=life.environment,
        observation=observation(life, engine) if what is EndKind.STOP else None,
    )


def is_stop_signal(event: Event, life: WatchedLife) -> bool:
    """Whether the engine sent the container's own stop signal. SIGKILL alone is a kill, whatever an image names."""
    return event.signal == life.stop_signal and event.signal != signals.SIGKILL


def kind(life: WatchedLife) -> EndKind:
    """A `stop` event or the container's own stop signal makes it a stop; all else is something else."""
    if not life.seen or _began_unheard(life):
        return EndKind.UNSEEN
    sent = _signals(life)
    left_ns = life.exited.at_ns if life.exited is not None else None

    def since(event: Event) -> int:
        return 0 if left_ns is None else left_ns - event.at_ns

    if life.stop_told and sent:
        return EndKind.STOP
    if any(is_stop_signal(event, life) and since(event) < AT_LAST_NS for event in sent):
        return EndKind.STOP
    if life.oom_killed:
        return EndKind.OOM_KILL
    if any(since(event) < PROMPTED_NS for event in sent):
        return EndKind.KILL
    number = (life.exit_code or 0) - 128
    if number in signals.FAULTS:
        return EndKind.CRASH
    return EndKind.OUTSIDE if number in ASKED_TO_END else EndKind.EXIT


def _began_unheard(life: WatchedLife) -> bool:
    """Whether somebody was stopping it already when it was first heard of: of its stop there is nothing but the SIGKILL
    of the end. Its own signal was sent before that, and when, nobody knows."""
    sent = _signals(life)
    if life.heard_since_ns is None or not life.stop_told or not sent or life.stop_signal == signals.SIGKILL:
        return False
    may_last_ns = max(SAME_STOP_NS, (life.stop_timeout_s or 0) * NS_PER_S)
    only_killed = all(event.signal == signals.SIGKILL for event in sent)
    return only_killed and sent[0].at_ns - life.heard_since_ns < may_last_ns


def _signals(life: WatchedLife) -> list[Event]:
    """In the order of time."""
    sent = [event for event in life.events if event.kind is EventKind.SIGNAL_SENT]
    return sorted(sent, key=lambda event: event.at_ns)


def stop_signal_of(life: WatchedLife) -> tuple[int, int]:
    """(the signal that the stop began with, when) of a life that ended with a stop.

    The container's own, else that of the call (`docker stop --signal`).
    """
    sent = _signals(life)
    others = [event for event in sent if event.signal != signals.SIGKILL]
    own = [event for event in sent if is_stop_signal(event, life)]
    chosen = own or [event for event in others if event.signal == others[-1].signal] or sent
    begun = chosen[-1]
    for earlier, later in pairwise(reversed(chosen)):
        # From the last one backwards: `later` is the one before in time.
        if earlier.at_ns - later.at_ns >= SAME_STOP_NS:
            break
        begun = later
    return begun.signal or life.stop_signal, begun.at_ns


def stop_timeout(life: WatchedLife, begun_ns: int) -> tuple[int, TimeoutSource]:
    """(stop timeout in ns, how it is known). The engine's events do not name it."""
    own = life.stop_timeout_s is not None
    known_ns = (life.stop_timeout_s if life.stop_timeout_s is not None else ENGINE_STOP_TIMEOUT_S) * NS_PER_S
    call = _only_call(life, begun_ns)
    if call is not None and (call.timeout_s is None or call.timeout_s >= 0):
        return known_ns if call.timeout_s is None else call.timeout_s * NS_PER_S, TimeoutSource.CALL
    source = TimeoutSource.CONTAINER if own else TimeoutSource.ENGINE
    sent = [event for event in _signals(life) if event.at_ns > begun_ns and event.signal == signals.SIGKILL]
    if sent:
        gap_ns = sent[0].at_ns - begun_ns + STAMP_EARLY_NS
        if known_ns <= gap_ns < known_ns + CONFIGURED_LATE_NS:
            return known_ns, TimeoutSource.SIGKILL
        # The engine waits for whole seconds. Any other time is somebody else's SIGKILL, on which the judge has a word.
        if life.stop_told and gap_ns % NS_PER_S < SIGKILL_LATE_NS + STAMP_EARLY_NS:
            return gap_ns // NS_PER_S * NS_PER_S, TimeoutSource.SIGKILL
        return known_ns, source
    took_ns = life.exited.at_ns - begun_ns if life.exited is not None else 0
    if life.stop_told and life.complete and took_ns > known_ns:
        return -(-took_ns // NS_PER_S) * NS_PER_S, TimeoutSource.NO_SIGKILL
    return known_ns, source


def _only_call(life: WatchedLife, begun_ns: int) -> StopCall | None:
    """The stop call that sent the first stop signal; None where none was heard, or another came beside it, which has
    a deadline of its own."""
    before = [call for call in life.calls if 0 <= begun_ns + STAMP_EARLY_NS - call.at_ns < SAME_STOP_NS]
    later = [call for call in life.calls if call.at_ns > begun_ns + STAMP_EARLY_NS]
    return before[0] if len(before) == 1 and not later else None


def observation(life: WatchedLife, engine: EngineInfo) -> Observation:
    """The record of a stop, as a trial would have made it."""
    signal, begun_ns = stop_signal_of(life)
    timeout_ns, source = stop_timeout(life, begun_ns)
    kept = tuple(event for event in life.events if event.kind is not EventKind.SIGNAL_SENT or event.at_ns >= begun_ns)
    lost = life.lost_processes
    proved = lost is not None
    # Without the kernel's record a table is a proof only if it shows who was there when the signal came. Why somebody
    # stayed until SIGKILL is another question, to which an older one is an answer, too.
    sigkill_sent = any(event.signal == signals.SIGKILL for event in kept)
    killed = sigkill_sent and life.exit_code == 128 + signals.SIGKILL
    keeps = proved or killed or life.looks.after_signal is not None
    looks = life.looks if keeps else replace(life.looks, before=None)
    return Observation(
        trial_id=f"{SCENARIO}/{life.container}",
        scenario=SCENARIO,
        engine=engine,
        stop_timeout_ns=timeout_ns,
        stop_after_ns=0,
        repetition=1,
        started_at="",
        record=StopRecord(
            events=(*kept, *((life.exited,) if life.exited is not None else ())),
            exit_code=life.exit_code,
            oom_killed=life.oom_killed,
            complete=life.complete,
            lost_processes=first_names(lost) if lost is not None else None,
            lost_process_count=len(lost) if lost is not None and len(lost) > MOST_NAMES else None,
            stop_signal=signal,
            stop_signal_source="container" if signal == life.stop_signal else "stop call",
            fates=life.fates,
        ),
        looks=looks,
        load_average=life.load_average,
        watched=Watched(life.container, life.image, source, life.looked_ns, life.removed),
    )
