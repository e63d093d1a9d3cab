"""PutAttributes, ListAttributes and DeleteAttributes: what people write on container instances."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.ecs_support import Simulation, simulation
from tests.test_ecs_ends import instances

KIND = "container-instance"


def put(it: Simulation, *attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """PutAttributes."""
    return list(it.client.put_attributes(attributes=list(attributes))["attributes"])


def listed(it: Simulation, **more: Any) -> list[dict[str, Any]]:
    """ListAttributes."""
    return list(it.client.list_attributes(targetType=KIND, **more)["attributes"])


def test_an_attribute_is_put_replaced_listed_and_deleted() -> None:
    """By ARN or id; DescribeContainerInstances shows it beside those of ECS."""
    with simulation() as it:
        arn = instances(it)[0]["containerInstanceArn"]
        of_it = {"targetId": arn, "targetType": KIND}
        assert put(it, {"name": "stack", "value": "test", "targetId": arn}) == [
            {"name": "stack", "value": "test", **of_it}
        ]
        put(it, {"name": "stack", "value": "prod", "targetId": arn.rpartition("/")[2], "targetType": KIND})
        put(it, {"name": "bare", "targetId": arn})
        assert listed(it, attributeName="stack") == [{"name": "stack", "value": "prod", **of_it}]
        assert listed(it, attributeName="stack", attributeValue="test") == []
        assert listed(it, attributeName="bare") == [{"name": "bare", **of_it}]
        shown = instances(it)[0]["attributes"]
        assert {"name": "stack", "value": "prod"} in shown
        assert {item["name"] for item in listed(it)} == {item["name"] for item in shown}
        it.client.delete_attributes(attributes=[{"name": "stack", "value": "test", **of_it}])
        assert listed(it, attributeName="stack")
        gone = it.client.delete_attributes(attributes=[{"name": "stack", **of_it}])["attributes"]
        assert [item["value"] for item in gone] == ["prod"]
        assert not listed(it, attributeName="stack")


def test_pages_hold_every_attribute_once() -> None:
    """Of two instances that have the same ones."""
    with simulation() as it:
        it.client.register_container_instance()
        whole, page = listed(it), it.client.list_attributes(targetType=KIND, maxResults=4)
        seen = page["attributes"]
        while "nextToken" in page:
            page = it.client.list_attributes(targetType=KIND, maxResults=4, nextToken=page["nextToken"])
            seen += page["attributes"]
        assert seen == whole
        assert len({(item["targetId"], item["name"]) for item in whole}) == len(whole)


def test_mistakes_about_attributes() -> None:
    """In ECS's own form, and nothing of the call is applied."""
    with simulation() as it:
        arn = instances(it)[0]["containerInstanceArn"]
        good = {"name": "a", "targetId": arn}
        for wrong, code, words in (
            ([], "InvalidParameterException", "1 to 10"),
            ([good] * 11, "InvalidParameterException", "1 to 10"),
            ([{"name": "a"}], "InvalidParameterException", "needs a targetId"),
            ([{"name": "a", "targetId": arn.rpartition("/")[2]}], "InvalidParameterException", "targetType"),
            ([{"name": "a b", "targetId": arn}], "InvalidParameterException", "attribute name"),
            ([{"name": "a", "value": " b", "targetId": arn}], "InvalidParameterException", "attribute value"),
            ([good, {"name": "a", "targetId": arn + "0"}], "TargetNotFoundException", "was not found"),
        ):
            with pytest.raises(ClientError, match=words) as refused:
                put(it, *wrong)
            assert refused.value.response["Error"]["Code"] == code
        assert not listed(it, attributeName="a")
        put(it, *({"name": f"a{number}", "targetId": arn} for number in range(10)))
        with pytest.raises(ClientError, match="up to 10 custom attributes"):
            put(it, good)
        with pytest.raises(ClientError, match="enum value set"):
            it.client.list_attributes(targetType="task")
