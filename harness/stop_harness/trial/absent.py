"""In the place of the faults and of the clients of a scenario that has none: then nothing of them is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stop_harness.model import FaultRecord, StopRecord

if TYPE_CHECKING:
    from stop_harness.trial.faults import Kept


class NoFaults:
    """In the place of `faults.Faults`: nothing goes wrong."""

    def hold(self) -> None: ...
    def begin_early(self, lead_ns: int) -> None: ...
    def ready(self) -> None: ...
    def mark_stop(self) -> None: ...
    def end(self) -> None: ...

    def give_back(self) -> tuple[Kept, ...]:
        return ()

    def records(self, record: StopRecord) -> tuple[StopRecord, tuple[FaultRecord, ...]]:
        return record, ()


class NoTraffic:
    """In the place of `traffic.Flow`: nothing happens and nothing is known."""

    lead_ns = 0
    acknowledged: tuple[str, ...] = ()

    def begin(self) -> None: ...
    def wait_lead(self) -> None: ...
    def deregister(self) -> None: ...
    def wait_stop_delay(self) -> None: ...
    def mark_stop(self) -> None: ...
    def end(self) -> None: ...
    def record(self) -> None: ...
