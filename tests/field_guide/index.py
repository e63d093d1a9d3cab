"""field-guide/guide.toml and its scenario files → what is stopped."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from stop_harness import signals
from stop_harness.model import Expectation, Outcome, Scenario
from stop_harness.scenario import discovery

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "field-guide"
MEASURED = FOLDER / "measured.json"


@dataclass(frozen=True)
class Server:
    """A server of the guide and the signals that it is stopped with."""

    scenario: Scenario
    title: str
    package: str
    signals: tuple[str, ...]


@dataclass(frozen=True)
class Guide:
    """Everything that is measured. `pairs`: a bad sample and its cured twin each."""

    servers: tuple[Server, ...]
    pairs: tuple[tuple[Scenario, Scenario], ...]


def load() -> Guide:
    """The guide as its folder has it. Raises KeyError where guide.toml names a scenario that is not there."""
    index = tomllib.loads((FOLDER / "guide.toml").read_text(encoding="utf-8"))
    files = {each.name: each for each in discovery.load((FOLDER / "servers",))}
    samples = {each.name: each for each in discovery.load((FOLDER / "cures",))}
    servers = tuple(
        Server(files.pop(item["scenario"]), item["title"], item["package"], tuple(item["signals"]))
        for item in index["server"]
    )
    pairs = tuple((samples.pop(item["bad"]), samples.pop(item["cured"])) for item in index["pair"])
    if files or samples:
        raise KeyError(f"guide.toml does not name {', '.join((*files, *samples))}")
    return Guide(servers, pairs)


def variants(server: Server, *, idle: bool = True) -> tuple[Scenario, ...]:
    """One scenario for each signal and state; `nginx-sigquit-busy`. `idle` False: at work only."""
    states = ("idle", "busy") if idle else ("busy",)
    return tuple(variant(server.scenario, signal, state) for signal in server.signals for state in states)


def variant(scenario: Scenario, signal: str, state: str) -> Scenario:
    """A server stopped with one signal. Whatever comes of it is accepted: it is measured, not expected."""
    signals.number(signal)
    return replace(
        scenario,
        name=f"{scenario.name}-{signal.lower()}-{state}",
        stop=replace(scenario.stop, signal=signal),
        traffic=scenario.traffic if state == "busy" else (),
        before_stop=scenario.before_stop if state == "busy" else (),
        expectations=(Expectation(outcomes=tuple(Outcome)),),
    )
