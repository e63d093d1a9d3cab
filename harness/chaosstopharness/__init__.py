"""stop-harness for Chaos Toolkit: stop a container in the method of an experiment, and ask in its steady-state
hypothesis whether containers stop gracefully. See docs/chaos-toolkit.md.

Arguments are those of `stop_harness.check` and `stop_harness.run`, in JSON or YAML. Nothing of Chaos Toolkit is
imported but by `discover`: whoever has this package has stop-harness, and need not have both.
"""

from __future__ import annotations

from typing import Any

from stop_harness import __version__

__all__ = ["__version__", "discover"]


def discover(discover_system: bool = True) -> dict[str, Any]:
    """What `chaos discover chaosstopharness` finds: the actions and probes of this package. There is no system to look
    at."""
    from chaoslib.discovery.discover import discover_actions, discover_probes, initialize_discovery_result

    found: dict[str, Any] = initialize_discovery_result("chaosstopharness", __version__, "container")
    found["activities"] += discover_actions("chaosstopharness.actions")
    found["activities"] += discover_probes("chaosstopharness.probes")
    return found
