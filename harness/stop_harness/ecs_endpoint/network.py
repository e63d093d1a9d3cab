"""The network of a task: what ECS wants to be told of it, and how it shows the network interface. Pure."""

from __future__ import annotations

from typing import Any

from stop_harness.ecs_endpoint.errors import invalid_parameter

AWSVPC = "awsvpc"

Json = dict[str, Any]


def check(document: Json, configuration: Json | None) -> None:
    """Refuse, in the words of ECS, a task without subnets where it has a network interface, and with some where not."""
    if document.get("networkMode") != AWSVPC:
        if configuration:
            raise invalid_parameter(
                "Network Configuration is not valid for the given networkMode of this task definition."
            )
        return
    if not configuration:
        raise invalid_parameter("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if not (configuration.get("awsvpcConfiguration") or {}).get("subnets"):
        raise invalid_parameter("subnets can not be empty.")


def attachment(task_id: str, configuration: Json | None, address: str | None, *, stopped: bool) -> list[Json]:
    """The network interface of a task, by its `networkConfiguration`; none for other network modes.

    Its numbers are made from the task's id, so that they stay the same. `address`: of the task's containers here, None
    before one of them runs.
    """
    if not configuration:
        return []
    subnet = configuration["awsvpcConfiguration"]["subnets"][0]
    bytes_of_mac = ["0e", *(task_id[at : at + 2] for at in range(0, 10, 2))]
    details = {
        "subnetId": subnet,
        "networkInterfaceId": f"eni-{task_id[:17]}",
        "macAddress": ":".join(bytes_of_mac),
        "privateIPv4Address": address,
    }
    return [
        {
            "id": attachment_id(task_id),
            "type": "ElasticNetworkInterface",
            "status": "DELETED" if stopped else "ATTACHED" if address else "PRECREATED",
            "details": [{"name": name, "value": value} for name, value in details.items() if value is not None],
        }
    ]


def attachment_id(task_id: str) -> str:
    """A UUID that is the same for one task."""
    digits = task_id.replace("-", "")
    return "-".join((digits[8:16], digits[:4], digits[4:8], digits[16:20], digits[20:32]))
