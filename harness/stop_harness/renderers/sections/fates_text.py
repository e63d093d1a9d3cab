"""Who ended how: the processes of one stop as a table for people, in the order of their tree. Pure."""

from __future__ import annotations

from stop_harness import signals
from stop_harness.evidence import fate_scene, lost_work, process_fates
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Observation,
    Outcome,
    ProcessFate,
    ReceivedSignal,
    SignalDisposition,
    StopFacts,
    TrialResult,
)
from stop_harness.records import dataclass
from stop_harness.renderers.sections.columns import DIM, YELLOW, Paint, columns_of, fit
from stop_harness.wording import one_line, stop_limit

HEADS = ("PID", "process", "handler", "was sent", "ended by", "after")
TITLE = "Who ended how"

LATEST_STAMP_NS = 10 * NS_PER_MS
MOST_ROWS = 30
MOST_SIGNALS = 3
"""Signals of one process that are told one by one."""

_MEETS = {
    SignalDisposition.CAUGHT: "yes",
    SignalDisposition.IGNORED: "ignores it",
    SignalDisposition.BLOCKED: "blocks it",
    SignalDisposition.DEFAULT: "no",
}


@dataclass(frozen=True)
class FateTable:
    """`rows` have a cell for each of `HEADS`. `lost`: the rows, by number, whose end was a loss or may have been one.
    `left_out`: how many processes are in no row."""

    rows: tuple[tuple[str, ...], ...]
    lost: frozenset[int]
    left_out: int


def table(seen: Observation, facts: StopFacts) -> FateTable | None:
    """None where nobody saw how the processes ended."""
    everybody = in_order(seen)
    if not everybody:
        return None
    # An engine's own stamps may be a tenth of a second late: then only the distance to PID 1's end is known.
    exact = (facts.duration_error_ns or 0) <= LATEST_STAMP_NS
    begun_ns = fate_scene.begun_ns(seen, facts.shutdown_duration_ns if exact else None)
    shown = everybody[:MOST_ROWS]
    lost = frozenset(number for number, (_, _, is_lost) in enumerate(shown) if is_lost)
    count = seen.record.fate_count or len(everybody)
    return FateTable(tuple(_row(fate, depth, begun_ns, seen) for fate, depth, _ in shown), lost, count - len(shown))


def in_order(seen: Observation) -> list[tuple[ProcessFate, int, bool]]:
    """Every process in the order of its tree, with its depth and whether its end was a loss or may have been one."""
    losers = {(lost.process.pid, lost.process.host_pid) for lost in lost_work.lost_work(seen)}
    # A shell's own `sleep` is marked as little as it is a loss.
    killed = lost_work.silently_killed(seen) or seen.record.lost_processes is None
    return [
        (
            fate,
            depth,
            (fate.pid, fate.host_pid) in losers or (fate.exit_signal == signals.SIGKILL and number > 0 and killed),
        )
        for number, (fate, depth) in enumerate(_in_tree(fate_scene.fates_of(seen)))
    ]


def explains(result: TrialResult) -> FateTable | None:
    """The table of a trial that has more than one process, and a bad outcome or a warning about one of them."""
    found = table(result.observation, result.verdict.facts)
    bad = result.verdict.outcome is not Outcome.GRACEFUL
    return found if found is not None and len(found.rows) > 1 and (bad or found.lost) else None


NARROW = 110
"""A terminal of fewer columns has no room for the signals that each process was sent."""
LEAST_NAME = 20


def lines(results: tuple[TrialResult, ...], width: int, paint: Paint) -> list[str]:
    """For a terminal: who ended how in the longest stop where that explains something."""
    found = ((result, explains(result)) for result in reversed(results))
    result, shown = next(((result, table) for result, table in found if table), (None, None))
    if result is None or shown is None:
        return []
    columns = [0, 1, 2, 4, 5] if width < NARROW else [0, 1, 2, 3, 4, 5]
    cells = [[row[column] for column in columns] for row in (HEADS, *shown.rows)]
    widths = [max(columns_of(line[column]) for line in cells) for column in range(len(columns))]
    widths[1] = max(LEAST_NAME, min(widths[1], width - 4 - sum(widths) + widths[1] - 2 * (len(widths) - 1)))
    told = ["", f"  who ended how at {stop_limit(result.observation)}:"]
    for number, line in enumerate(cells, start=-1):
        text = "  ".join(fit(cell, wanted) for cell, wanted in zip(line, widths, strict=True)).rstrip()
        told.append(f"    {paint(fit(text, width - 4).rstrip(), YELLOW if number in shown.lost else DIM)}")
    return told + ([f"    and {shown.left_out:,} more"] if shown.left_out else [])


def _row(fate: ProcessFate, depth: int, begun_ns: int | None, seen: Observation) -> tuple[str, ...]:
    born = "" if fate.born_ns is None else ", born later"
    name = one_line(fate_scene.command(fate).strip("`"))
    return (
        _pid(fate),
        f"{'  ' * (depth - 1)}└ {name}{born}" if depth else f"{name}{born}",
        _meets(fate),
        _sent(fate, begun_ns),
        ended(fate, seen),
        _after(None if fate.end_ns is None else fate.end_ns, begun_ns),
    )


def _in_tree(fates: tuple[ProcessFate, ...]) -> list[tuple[ProcessFate, int]]:
    """Each process below its parent, with its depth; what has none in the table stands at the end."""
    pids = {fate.pid for fate in fates}
    ordered: list[tuple[ProcessFate, int]] = []

    def put(fate: ProcessFate, depth: int) -> None:
        if any(fate is known for known, _ in ordered):
            return
        ordered.append((fate, depth))
        for child in fates:
            if child is not fate and fate.pid is not None and child.parent_pid == fate.pid:
                put(child, depth + 1)

    for fate in fates:
        if fate is fates[0] or fate.parent_pid not in pids:
            put(fate, 0)
    for fate in fates:
        put(fate, 0)
    return ordered


def _pid(fate: ProcessFate) -> str:
    """Inside the container; the host's where it was gone before anybody could ask for that."""
    return str(fate.pid) if fate.pid is not None else f"host {fate.host_pid}" if fate.host_pid is not None else "?"


def _meets(fate: ProcessFate) -> str:
    """What the stop signal meets, and what the process was doing then where that says something."""
    text = "?" if fate.handling is None else _MEETS[fate.handling]
    if fate.handling is SignalDisposition.DEFAULT and "sigtimedwait" in fate.waits_in:
        text = "sigwait"
    busy = (fate.cpu_share or 0) >= process_fates.BUSY_SHARE or fate.state in {"R", "D"}
    clients = f"{fate.served} client{'s' if fate.served != 1 else ''}" if fate.served else ""
    return ", ".join(part for part in (text, "computing" if busy else "", clients) if part)


def _sent(fate: ProcessFate, begun_ns: int | None) -> str:
    if fate.signals is None:
        return "?"
    told = [_one_signal(item, fate, begun_ns) for item in fate.signals[:MOST_SIGNALS]]
    more = len(fate.signals) - len(told)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "") or "nothing"


def _one_signal(item: ReceivedSignal, fate: ProcessFate, begun_ns: int | None) -> str:
    if item.sender_pid is None:
        return signals.name(item.number)
    by = "itself" if item.sender_pid == fate.pid else item.sender or "?"
    return f"{signals.name(item.number)} by {one_line(by)} {_after(item.to_end_ns, begun_ns)}".rstrip()


def ended(fate: ProcessFate, seen: Observation) -> str:
    """`SIGKILL, with PID 1`, `exit code 0`, `not seen`."""
    if fate.exit_signal is not None:
        name = signals.name(fate.exit_signal)
        if fate.by_teardown:
            return f"{name}, with PID 1"
        return f"{name}, by default" if process_fates.defaulted(fate) else name
    if fate.exit_code is None:
        # Of PID 1 the engine knows it as well.
        code = seen.record.exit_code if fate.parent_pid == 0 and fate.pid == 1 else None
        return "not seen" if code is None else f"exit code {code}"
    return f"exit code {fate.exit_code}"


def _after(to_end_ns: int | None, begun_ns: int | None) -> str:
    """A moment, from the stop signal on: `0.4 ms`, `2.01 s`; where that is not known exactly, `0.4 ms before PID 1`."""
    if to_end_ns is None:
        return ""
    if begun_ns is None:
        return f"{short_time(to_end_ns)} before PID 1" if to_end_ns else ""
    return short_time(max(0, begun_ns - to_end_ns))


def short_time(duration_ns: int) -> str:
    """`0.14 ms`, `12.3 ms`, `2.01 s`."""
    if duration_ns < NS_PER_MS:
        return f"{duration_ns / NS_PER_MS:.2f} ms"
    if duration_ns < 100 * NS_PER_MS:
        return f"{duration_ns / NS_PER_MS:.1f} ms"
    return f"{duration_ns / NS_PER_S:.2f} s"
