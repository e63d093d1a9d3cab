"""What is stopped: a mix of three tiny containers, and the scenario files for it.

Each container is one perl process (every Debian image has perl), which takes 3 ms to start: what is measured is the
engine and who calls it. Of 100 containers 60 leave at once, 25 drain for 3 s, and 15 ignore the stop signal until
SIGKILL at the stop timeout of 10 s, in this order: the worst one, because the longest begin last. The scenario files
say what is expected of each, and the harness starts those first that are expected to last longest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stop_harness.model import Outcome

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
STOP_TIMEOUT_S = 10
DRAIN_S = 3


@dataclass(frozen=True)
class Kind:
    """One container. `share` of a mix, `handler` what perl does with SIGTERM, and what stopping it comes to."""

    name: str
    share: float
    handler: str
    outcome: Outcome
    exit_code: int
    lasts_s: int

    @property
    def command(self) -> tuple[str, ...]:
        """Says `ready` once the handler is there."""
        return ("perl", "-e", f'$SIG{{TERM}} = {self.handler}; $| = 1; print "ready\\n"; sleep 1 while 1')


LEAVES = Kind("leaves", 0.60, "sub { exit 0 }", Outcome.GRACEFUL, 0, 0)
DRAINS = Kind("drains", 0.25, f"sub {{ sleep {DRAIN_S}; exit 0 }}", Outcome.GRACEFUL, 0, DRAIN_S)
IGNORES = Kind("ignores", 0.15, '"IGNORE"', Outcome.KILLED, 137, STOP_TIMEOUT_S)
KINDS = (LEAVES, DRAINS, IGNORES)


def mix(size: int) -> tuple[Kind, ...]:
    """`size` containers of the mix, those that leave at once first. Of one, it is the first kind."""
    ignores = round(size * IGNORES.share)
    drains = int(size * DRAINS.share)
    return (LEAVES,) * (size - drains - ignores) + (DRAINS,) * drains + (IGNORES,) * ignores


def in_flight(size: int, drain_s: int) -> tuple[Kind, ...]:
    """Containers that all drain so long that the first still does when the last is asked to stop."""
    return (Kind("drains-long", 1.0, f"sub {{ sleep {drain_s}; exit 0 }}", Outcome.GRACEFUL, 0, drain_s),) * size


def write_scenarios(kinds: tuple[Kind, ...], directory: Path, stop_timeout_s: int = STOP_TIMEOUT_S) -> Path:
    """One scenario file a container, named so that they are read in this order."""
    directory.mkdir(parents=True)
    for number, kind in enumerate(kinds, 1):
        within = f", within: {kind.lasts_s + 5}s" if kind is DRAINS else ""
        (directory / f"{number:04d}-{kind.name}.yaml").write_text(
            f"""\
version: 1
name: {number:04d}-{kind.name}
subject:
  image: {BASE_IMAGE}
  command: [perl, -e, '{kind.command[2]}']
ready: {{log: "^ready$"}}
stop: {{timeouts: {stop_timeout_s}s}}
expect: {{outcome: {kind.outcome}{within}}}
""",
            encoding="utf-8",
        )
    return directory
