"""The standard faults of `--faults`, and each scenario beside its copies under them. Pure.

This table is the only place where they are defined: the options, the pages and the reports follow it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from stop_harness import signals
from stop_harness.errors import UsageError
from stop_harness.model import (
    NS_PER_MS,
    Expectation,
    Fault,
    FaultAction,
    FaultKind,
    FaultMoment,
    Group,
    GroupKind,
    Mount,
    MountKind,
    Outcome,
    Positions,
    Role,
    Scenario,
    SkippedScenario,
    StartCondition,
    Subject,
    Twin,
    When,
)
from stop_harness.records import dataclass

SET = "standard"
"""Names all of them."""

TENTH_OF_A_CORE = 0.1
HEADROOM_BYTES = 16 * 1024**2
SECOND_NS = 200 * NS_PER_MS
"""How long an impatient operator, or one who presses twice, waits in between."""
PAUSE_NS = 500 * NS_PER_MS

Variants = Mapping[str, tuple[Fault, ...]]
"""What is added to the name of a standard fault → its faults; the empty text where there is only one of it."""


class DoesNotApply(ValueError):
    """Why a fault says nothing about a scenario, as the rest of a sentence."""


@dataclass(frozen=True)
class StandardFault:
    """`says`: what happens, for the pages. `asks`: what a stop under it shows. `faults`: those of a scenario; raises
    DoesNotApply. `accepts`: outcomes that count as met, because the fault itself brings them about."""

    name: str
    says: str
    asks: str
    faults: Callable[[Scenario], Variants]
    accepts: tuple[Outcome, ...] = ()


def _single(fault: Fault) -> Callable[[Scenario], Variants]:
    """The same fault for every scenario in which one container is stopped."""

    def faults(scenario: Scenario) -> Variants:
        _alone(scenario)
        return {"": (fault,)}

    return faults


def _alone(scenario: Scenario) -> Subject:
    """What the only container runs that is stopped. Raises DoesNotApply."""
    subject = scenario.subject
    if subject.task is not None or subject.task_file is not None:
        raise DoesNotApply("faults are not made in the tasks of a task definition")
    if subject.container is not None:
        raise DoesNotApply("faults are made in containers that are started for the trial, and this one runs already")
    if subject.alone is None:
        raise DoesNotApply("several containers are stopped together, and it is made in one")
    return subject.alone


def _network_cut(scenario: Scenario) -> Variants:
    network = _alone(scenario).settings.network or ""
    if network in {"none", "host"} or network.startswith("container:"):
        raise DoesNotApply(f"with `network: {network}` it has no network of its own that could be cut")
    return {"": (Fault(FaultKind.NETWORK, FaultAction.CUT),)}


def _names_unanswered(scenario: Scenario) -> Variants:
    if _alone(scenario).settings.network == "none":
        raise DoesNotApply("with `network: none` it has nobody to ask for names")
    return {"": (Fault(FaultKind.DNS, FaultAction.DEAD),)}


def _sigint_first(scenario: Scenario) -> Variants:
    _alone(scenario)
    if scenario.stop.signal is not None and signals.number(scenario.stop.signal) == signals.NUMBERS["INT"]:
        raise DoesNotApply("SIGINT is its stop signal")
    return {"": (Fault(FaultKind.SIGNAL, FaultAction.SEND, signal="SIGINT"),)}


def _tmpfs_full(scenario: Scenario) -> Variants:
    mounts: Iterable[Mount] = _alone(scenario).settings.mounts
    sized = [item for item in mounts if item.kind is MountKind.TMPFS and "size=" in item.options]
    if not sized:
        raise DoesNotApply("it has no tmpfs with a size, and nothing else is ever filled")
    return {"": tuple(Fault(FaultKind.DISK, FaultAction.FULL, target=item.target) for item in sized)}


def _dependency_gone(scenario: Scenario) -> Variants:
    group = scenario.subject.group
    names = _dependencies(group) if group is not None else ()
    if not names:
        raise DoesNotApply("no other container runs beside it that it could need")
    return {f"-{name}": (Fault(FaultKind.DEPENDENCY, FaultAction.KILL, target=name),) for name in names}


def _dependencies(group: Group) -> tuple[str, ...]:
    """Containers that run on while others need them. Of a group that is stopped as a whole those that others wait for,
    or that run beside a pod's containers; what runs to its end before the others start is gone in any case."""
    ended = {
        item.member
        for member in group.members
        for item in member.waits_for
        if item.condition is StartCondition.COMPLETED
    }
    beside = [item for item in group.members if item.role is not Role.INIT and item.name not in ended]
    if group.stopped is not None:
        return tuple(item.name for item in beside if item.name != group.stopped)
    if group.kind is GroupKind.POD:
        return tuple(item.name for item in beside) if len(beside) > 1 else ()
    needed = {item.member for member in group.members for item in member.waits_for}
    return tuple(item.name for item in beside if item.name in needed)


_AFTER = FaultMoment(When.AFTER, SECOND_NS)

STANDARD_FAULTS = (
    StandardFault(
        "cpu-starved",
        "A tenth of a core, from before the stop on.",
        "Does it finish in time on a busy machine?",
        _single(Fault(FaultKind.CPU, FaultAction.LIMIT, amount=TENTH_OF_A_CORE)),
    ),
    StandardFault(
        "memory-tight",
        "16 MiB more than it uses, from before the stop on.",
        "Does it need memory to stop, as for a dump or a worker more?",
        _single(Fault(FaultKind.MEMORY, FaultAction.HEADROOM, amount=HEADROOM_BYTES)),
    ),
    StandardFault(
        "pids-tight",
        "No new process or thread, from before the stop on.",
        "Does it start something to stop, as a script or a thread?",
        _single(Fault(FaultKind.PIDS, FaultAction.LIMIT, amount=1)),
    ),
    StandardFault(
        "paused",
        "Frozen for 500 ms with the stop signal.",
        "Does it take the time that has passed for its own, and give up?",
        _single(Fault(FaultKind.PAUSE, FaultAction.PAUSE, FaultMoment(When.AFTER), for_ns=PAUSE_NS, may_miss=True)),
    ),
    StandardFault(
        "second-signal",
        "The stop signal again, 200 ms after the first.",
        "Does a second signal break off, or lock up, what the first one began?",
        _single(Fault(FaultKind.SIGNAL, FaultAction.SEND, _AFTER, may_miss=True)),
    ),
    StandardFault(
        "sigint-first",
        "SIGINT just before the stop, as of Ctrl-C.",
        "Do two ways to end it get in each other's way?",
        _sigint_first,
        accepts=(Outcome.NOT_RUNNING,),
    ),
    StandardFault(
        "stop-twice",
        "The stop call again, 200 ms after the stop signal.",
        "Does a second operator, or a retried call, break the first one's stop?",
        _single(Fault(FaultKind.STOP, FaultAction.AGAIN, _AFTER, may_miss=True)),
    ),
    StandardFault(
        "network-cut",
        "Out of its networks, from before the stop on.",
        "Does it wait for clients and servers that nobody can reach any more?",
        _network_cut,
    ),
    StandardFault(
        "names-unanswered",
        "Names are asked of nobody, from before the stop on.",
        "Does it look up a name to stop, and wait for the answer?",
        _names_unanswered,
    ),
    StandardFault(
        "tmpfs-full",
        "Every tmpfs with a size is full, from before the stop on.",
        "Does what it writes at its end get lost without a word?",
        _tmpfs_full,
    ),
    StandardFault(
        "dependency-gone",
        "A container that it needs is killed before the stop; one after the other.",
        "Does it wait for a database that has gone first?",
        _dependency_gone,
    ),
)

_BY_NAME = {item.name: item for item in STANDARD_FAULTS}


# ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────────


def chosen(asked: str) -> tuple[StandardFault, ...]:
    """The faults of a text such as `standard` or `cpu-starved,paused`, in the order of the table. Raises UsageError."""
    names = [word.strip() for word in asked.split(",")]
    for name in names:
        if name not in _BY_NAME and name != SET:
            raise UsageError(f"--faults: {_unknown(name)}")
    return tuple(item for item in STANDARD_FAULTS if SET in names or item.name in names)


def _unknown(name: str) -> str:
    kind = name.partition("=")[0].partition("@")[0]
    if kind in set(FaultKind):
        return f"{name!r} is a fault of its own, which `check --fault {name}` and `faults:` of a scenario take"
    allowed = (SET, *_BY_NAME)
    near = difflib.get_close_matches(name, allowed, n=1)
    meant = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(allowed)}"
    return f"{name!r} is no standard fault; {meant}" if name else f"a name is missing; allowed: {', '.join(allowed)}"


@dataclass(frozen=True)
class Matrix:
    """Scenarios, each followed by its copies; and what does not apply, with why."""

    scenarios: tuple[Scenario, ...]
    not_tried: tuple[SkippedScenario, ...] = ()


def beside_faults(scenarios: tuple[Scenario, ...], asked: str | None, *, each_applies: bool = True) -> Matrix:
    """Every scenario and its copies under the faults that are asked for; None: no faults. Raises UsageError for a name
    that is none, and for a fault that is named and applies to none of the scenarios. `each_applies` False: it may, for
    these are not all scenarios that it was asked of."""
    if asked is None:
        return Matrix(scenarios)
    faults = chosen(asked)
    made: list[Scenario] = []
    not_tried: list[SkippedScenario] = []
    for scenario in scenarios:
        made.append(scenario)
        for fault in faults:
            copies, missing = _copies(scenario, fault)
            made += copies
            not_tried += missing
    if each_applies:
        _require_use(faults, made, not_tried, by_name=SET not in asked.split(","))
    return Matrix(tuple(made), tuple(not_tried))


def as_it_is_now(stored: Scenario, now: tuple[Scenario, ...]) -> Scenario | None:
    """The scenario of a stored run among those that its file holds now, or the copy of one of them; None: neither."""
    name = stored.twin.of if stored.twin is not None else stored.name
    found = next((item for item in now if item.name == name), None)
    return found if found is None or stored.twin is None else _copy_for(found, stored.twin)


def _copy_for(scenario: Scenario, twin: Twin) -> Scenario | None:
    """The copy under the fault of that name; None where it does not apply any more."""
    for fault in STANDARD_FAULTS:
        if twin.fault == fault.name or twin.fault.startswith(f"{fault.name}-"):
            copies, _ = _copies(scenario, fault)
            return next((item for item in copies if item.twin == twin), None)
    return None


def _require_use(
    faults: tuple[StandardFault, ...], made: list[Scenario], not_tried: list[SkippedScenario], *, by_name: bool
) -> None:
    used = {item.twin.fault for item in made if item.twin is not None}
    for fault in faults:
        if by_name and not any(name == fault.name or name.startswith(f"{fault.name}-") for name in used):
            why = next((item.reason for item in not_tried if item.twin and item.twin.fault == fault.name), "")
            raise UsageError(f"--faults: {fault.name} applies to none of the scenarios: {why}")


def _copies(scenario: Scenario, fault: StandardFault) -> tuple[list[Scenario], list[SkippedScenario]]:
    """The copies under one standard fault, and those that would contradict the scenario itself."""
    try:
        variants = fault.faults(scenario)
    except DoesNotApply as reason:
        return [], [_not_tried(scenario, fault.name, str(reason))]
    made, missing = [], []
    for suffix, added in variants.items():
        name = f"{fault.name}{suffix}"
        try:
            made.append(_copy(scenario, name, added, fault.accepts))
        except ValueError as reason:
            missing.append(_not_tried(scenario, name, str(reason)))
    return made, missing


def _copy(scenario: Scenario, name: str, added: tuple[Fault, ...], accepts: tuple[Outcome, ...]) -> Scenario:
    """Raises ValueError where its own faults, or its stop timeouts, leave no room for them."""
    from stop_harness.scenario import faults  # late: it brings pydantic, and most runs ask for no faults

    every = (*scenario.faults, *added)
    faults.refuse_contradictions(every, scenario.stop.timeouts_ns)
    twin = Twin(scenario.name, name)
    return replace(
        scenario,
        name=twin.name,
        faults=every,
        twin=twin,
        expectations=_expectations(scenario.expectations, accepts),
        # They are the run's already, with the scenario itself; and places in its file say nothing of added faults.
        waivers=(),
        positions=Positions(),
    )


def _expectations(given: tuple[Expectation, ...], accepts: tuple[Outcome, ...]) -> tuple[Expectation, ...]:
    """A stop that goes better than its scenario expects is no failure under a fault."""
    if all(item.stop_timeout_ns is not None for item in given):
        given = (*given, Expectation())
    better = (Outcome.GRACEFUL, *accepts)
    return tuple(replace(item, outcomes=tuple(dict.fromkeys((*item.outcomes, *better)))) for item in given)


def _not_tried(scenario: Scenario, fault: str, reason: str) -> SkippedScenario:
    twin = Twin(scenario.name, fault)
    return SkippedScenario(twin.name, reason, by_choice=True, twin=twin)
