"""Custom attributes of container instances. No task is placed by them here: all instances are this machine."""

from __future__ import annotations

import re

from stop_harness.ecs_endpoint import describe
from stop_harness.ecs_endpoint.errors import EcsError, invalid_parameter, quoted
from stop_harness.ecs_endpoint.paging import page
from stop_harness.ecs_endpoint.state import INACTIVE, Cluster, ContainerInstance, Endpoint, Json

MAX_ATTRIBUTES = 10
"""In one call, and of one instance beside those that ECS gives it (API reference, PutAttributes)."""
CONTAINER_INSTANCE = "container-instance"

_NAME = re.compile(r"[A-Za-z0-9\-_/\\.]{1,128}")
_VALUE = re.compile(r"(?! )[A-Za-z0-9\-_.@:/\\ ]{1,128}(?<! )")
"""API reference, Attribute."""


def put_attributes(endpoint: Endpoint, request: Json) -> Json:
    """What an instance has of that name already gets the new value."""
    cluster, given = _asked(endpoint, request)
    targets = [(_target(endpoint, cluster, item), item) for item in given]
    after = {it.id: {known["name"]: known for known in it.attributes} for it, _ in targets}
    for it, item in targets:
        after[it.id][item["name"]] = {key: item[key] for key in ("name", "value") if key in item}
    if any(len(found) > MAX_ATTRIBUTES for found in after.values()):
        message = f"A container instance can have up to {MAX_ATTRIBUTES} custom attributes."
        raise EcsError("AttributeLimitExceededException", message)
    for it, _ in targets:
        it.attributes = list(after[it.id].values())
    return {"attributes": [_shown(endpoint, cluster, it, item) for it, item in targets]}


def delete_attributes(endpoint: Endpoint, request: Json) -> Json:
    """By name, and by value where one is given; what is not there is no error."""
    cluster, given = _asked(endpoint, request)
    gone = []
    for item in given:
        it = _target(endpoint, cluster, item)
        found = [known for known in it.attributes if _is_meant(known, item["name"], item.get("value"))]
        it.attributes = [known for known in it.attributes if known not in found]
        gone += [_shown(endpoint, cluster, it, known) for known in found]
    return {"attributes": gone}


def list_attributes(endpoint: Endpoint, request: Json) -> Json:
    """Of all instances that are listed, with those that ECS gives them."""
    cluster = endpoint.cluster(request.get("cluster"))
    name, value = request.get("attributeName"), request.get("attributeValue")
    found = {
        f"{it.id}/{item['name']}": _shown(endpoint, cluster, it, item)
        for it in describe.living_instances(cluster)
        for item in describe.attributes(endpoint, it)
        if name is None or _is_meant(item, name, value)
    }
    chosen, token = page(list(found), request)
    return {"attributes": [found[key] for key in chosen], "nextToken": token}


def _asked(endpoint: Endpoint, request: Json) -> tuple[Cluster, list[Json]]:
    """The cluster, and well-formed attributes."""
    cluster, given = endpoint.cluster(request.get("cluster")), request["attributes"]
    if not 1 <= len(given) <= MAX_ATTRIBUTES:
        raise invalid_parameter(f"attributes should have 1 to {MAX_ATTRIBUTES} elements, but has {len(given)}")
    for item in given:
        if not _NAME.fullmatch(item["name"]):
            raise invalid_parameter(f"Invalid attribute name: {quoted(item['name'])}")
        if "value" in item and not _VALUE.fullmatch(item["value"]):
            raise invalid_parameter(f"Invalid attribute value: {quoted(item['value'])}")
    return cluster, given


def _target(endpoint: Endpoint, cluster: Cluster, item: Json) -> ContainerInstance:
    """Raises TargetNotFoundException; InvalidParameterException for an id whose kind is not told."""
    text = item.get("targetId", "")
    if not text:
        raise invalid_parameter(f"Attribute {quoted(item['name'])} needs a targetId.")
    if "targetType" not in item and not text.startswith("arn:"):
        raise invalid_parameter(f"targetType of {quoted(text)} should be {CONTAINER_INSTANCE}.")
    _, it = endpoint.find_instance(text, cluster)
    if it is None or it.status == INACTIVE:
        raise EcsError("TargetNotFoundException", f"The specified target {quoted(text)} was not found.")
    return it


def _is_meant(known: Json, name: str, value: str | None) -> bool:
    return known["name"] == name and value in {None, known.get("value")}


def _shown(endpoint: Endpoint, cluster: Cluster, it: ContainerInstance, item: Json) -> Json:
    arn = endpoint.arns.container_instance(cluster.name, it.id)
    return {"name": item["name"], "value": item.get("value"), "targetId": arn, "targetType": CONTAINER_INSTANCE}
