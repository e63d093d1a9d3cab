"""Keys of Compose services that are not applied to the containers that are started, and what that may change. Pure.

The reference is the Compose specification, https://github.com/compose-spec/compose-spec/blob/main/05-services.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.model import Outcome
from stop_harness.scenario import container_keys
from stop_harness.scenario.container_keys import ANY, SLOWER, STARTS


@dataclass(frozen=True)
class UnappliedKey:
    """A key of a service that is named in reports when a file has it. `changes`, `doubts`: as in `ContainerKey`."""

    key: str
    changes: str
    doubts: tuple[Outcome, ...] = ()


NOT_APPLIED = (
    UnappliedKey("external_links", "it reaches no other container", ANY),
    UnappliedKey("pre_start", "what it does before the container is started", ANY),
    UnappliedKey("devices", "what it may need to start", STARTS),
    UnappliedKey("device_cgroup_rules", "what it may need to start", STARTS),
    UnappliedKey("gpus", "what it may need to start", STARTS),
    UnappliedKey("models", "what it may need to start", STARTS),
    UnappliedKey("use_api_socket", "what it may need to start", STARTS),
    UnappliedKey("credential_spec", "what it may need to start", STARTS),
    UnappliedKey("group_add", "what it may open and write", STARTS),
    UnappliedKey("dns", "whom it finds by name when it starts and stops", STARTS),
    UnappliedKey("dns_opt", "how it looks names up", ()),
    UnappliedKey("dns_search", "whom it finds by name when it starts and stops", STARTS),
    UnappliedKey("domainname", "how it names itself", ()),
    UnappliedKey("mac_address", "how its network knows it", ()),
    UnappliedKey("uts", "whose host name it has", ()),
    UnappliedKey("userns_mode", "which rights it has on files that are mounted", STARTS),
    UnappliedKey("cgroup", "which limits it sees", ()),
    UnappliedKey("cgroup_parent", "limits that it shares with others", SLOWER),
    UnappliedKey("cpuset", "on which CPUs it runs, and so how fast", SLOWER),
    UnappliedKey("cpu_count", "how long a stop takes that has to compute", SLOWER),
    UnappliedKey("cpu_percent", "how long a stop takes that has to compute", SLOWER),
    UnappliedKey("cpu_rt_period", "how long a stop takes that has to compute", SLOWER),
    UnappliedKey("cpu_rt_runtime", "how long a stop takes that has to compute", SLOWER),
    UnappliedKey("blkio_config", "how long it takes to write down what it holds", SLOWER),
    UnappliedKey("storage_opt", "how much it can write", ()),
    UnappliedKey("mem_swappiness", "how slow it becomes at its memory limit", ()),
    UnappliedKey("mem_reservation", "whom the kernel takes memory from first", ()),
    UnappliedKey("oom_kill_disable", "whether the OOM killer ends it or it hangs", (Outcome.OOM_KILLED,)),
    UnappliedKey("oom_score_adj", "whom the OOM killer ends first", ()),
    UnappliedKey("runtime", "how signals reach it", ANY),
    UnappliedKey("isolation", "how signals reach it", ANY),
    UnappliedKey("provider", "it is no container but what a program provides", ANY),
    UnappliedKey("logging", "how long a write to its output may take", ()),
    UnappliedKey("restart", "nothing: no policy starts a container again that was stopped by hand", ()),
)
"""Everything else that the specification has is applied, or changes nothing about the stop of one container."""

WITHOUT_EFFECT = frozenset(
    "annotations attach build command container_name cpu_period cpu_quota depends_on deploy develop driver_opts "
    "entrypoint environment expose extends image init label_file links networks ports post_start pre_stop profiles "
    "pull_policy pull_refresh_after scale stop_grace_period stop_signal volumes_from".split()
)
"""Applied by the readers themselves, or about how an image is made, and who publishes what where."""

PARTS = {
    "build": (
        UnappliedKey("dockerfile_inline", "the Dockerfile of the folder is built instead", ANY),
        UnappliedKey("additional_contexts", "what the image is made of", ANY),
        UnappliedKey("network", "what its build reaches"),
        UnappliedKey("secrets", "what its build reads"),
        UnappliedKey("ssh", "what its build reaches"),
    ),
    "healthcheck": (UnappliedKey("start_interval", "how soon it counts as ready"),),
}
"""Keys within a key that is applied otherwise."""

NETWORK_PARTS = (
    UnappliedKey("driver", "it is a bridge network on one machine", ()),
    UnappliedKey("driver_opts", "how its network is made", ()),
    UnappliedKey("ipam", "which addresses its network has", ()),
    UnappliedKey("enable_ipv6", "whom it reaches by IPv6", STARTS),
)
"""Keys of a network that is made for the group."""

ATTACHMENT_PARTS = (
    UnappliedKey("ipv4_address", "at which address others look for it", STARTS),
    UnappliedKey("ipv6_address", "at which address others look for it", STARTS),
    UnappliedKey("link_local_ips", "at which addresses it is found", ()),
    UnappliedKey("mac_address", "how its network knows it", ()),
    UnappliedKey("driver_opts", "how its network is made", ()),
)
"""Keys of a service's place in a network."""

BY_KEY = {item.key: item for item in NOT_APPLIED}

APPLIED = frozenset(row.compose for row in container_keys.KEYS if row.compose) | {*WITHOUT_EFFECT, "secrets", "configs"}
"""Keys of a service that are no note in a report."""

OF_A_SERVICE = APPLIED | BY_KEY.keys()
"""All that the schema has, up to pull_refresh_after (compose-spec, schema/compose-spec.json), and some before it."""

OF_A_FILE = frozenset("version name include services networks volumes secrets configs models".split())
"""Likewise."""
