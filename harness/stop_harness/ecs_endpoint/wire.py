"""awsJson 1.1 by botocore's own model of ECS: bodies into checked requests, results into bodies.

What real services do with JSON is kept: unknown members and nulls are ignored, a wrong type is a
SerializationException. Required members and lengths are botocore's ParamValidator's affair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.validate import ParamValidator

from stop_harness.ecs_endpoint.errors import EcsError, client_exception, invalid_parameter, quoted

CONTENT_TYPE = "application/x-amz-json-1.1"
INTEGER_LIMITS = {"integer": 2**31, "long": 2**63}

_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "double": (int, float),
    "float": (int, float),
    "timestamp": (int, float, str),
}


@cache
def service_model() -> ServiceModel:
    """ECS as botocore knows it."""
    return ServiceModel(Loader().load_service_model("ecs", "service-2"))


def target(operation: str) -> str:
    """The X-Amz-Target of an operation."""
    return f"{service_model().metadata['targetPrefix']}.{operation}"


def operation_of(header: str | None) -> OperationModel:
    """From X-Amz-Target. Raises UnknownOperationException for what is not an operation of ECS."""
    prefix, _, name = (header or "").rpartition(".")
    if prefix == service_model().metadata["targetPrefix"] and name in service_model().operation_names:
        return service_model().operation_model(name)
    if not header:
        raise EcsError("UnknownOperationException", "X-Amz-Target is missing; this endpoint speaks awsJson 1.1 of ECS")
    raise EcsError("UnknownOperationException", f"{quoted(header)} is not an operation of Amazon ECS")


def parse(operation: OperationModel, body: bytes) -> dict[str, Any]:
    """The request of an operation, with the members that its model has."""
    try:
        value = json.loads(body or b"{}", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else quoted(str(error))
        raise _serialization(f"the body is not JSON: {text}") from None
    if not isinstance(value, dict):
        raise _serialization("the body must be a JSON object")
    shape = operation.input_shape
    assert shape is not None
    request: dict[str, Any] = _known(shape, value, "")
    if (report := ParamValidator().validate(request, shape)).has_errors():
        raise invalid_parameter(report.generate_report())
    return request


def _known(shape: Any, value: Any, path: str) -> Any:
    """The part of a value that the model knows, with every type checked on the way."""
    kind = shape.type_name
    if not _is_of(kind, value):
        raise _serialization(f"{path.lstrip('.')}: a {_json_type(value)} cannot be read as {kind}")
    if kind == "structure":
        members = ((name, member, value.get(name)) for name, member in shape.members.items())
        return {name: _known(member, item, f"{path}.{name}") for name, member, item in members if item is not None}
    if kind == "list":
        return [_known(shape.member, item, f"{path}[{index}]") for index, item in enumerate(value)]
    if kind == "map":
        return {key: _known(shape.value, item, f"{path}.{quoted(key)}") for key, item in value.items()}
    if kind in INTEGER_LIMITS and not -INTEGER_LIMITS[kind] <= value < INTEGER_LIMITS[kind]:
        raise _serialization(f"{path}: {quoted(str(value))} does not fit into {kind}")
    if allowed := getattr(shape, "enum", None):
        _check_enum(path, value, allowed)
    return value


def _is_of(kind: str, value: object) -> bool:
    return isinstance(value, _PYTHON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _check_enum(path: str, value: str, allowed: list[str]) -> None:
    if value not in allowed and path == ".pidMode":  # ECS's own words for this one (amazon-ecs-cli#667)
        raise client_exception(
            f"{quoted(value)} is not a valid value for pidMode. The value must be one of [task,host]"
        )
    if value not in allowed and path == ".launchType":
        raise invalid_parameter(f"launch type should be one of [{','.join(allowed)}]")
    if value not in allowed:
        raise invalid_parameter(
            f"1 validation error detected: Value '{quoted(value)}' at '{path.lstrip('.')}' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{', '.join(allowed)}]"
        )


def render(operation: OperationModel, result: dict[str, Any]) -> bytes:
    """The body of an answer: members that the model has, None left out, times as epoch seconds."""
    shape = operation.output_shape
    assert shape is not None
    return json.dumps(shaped(shape, result)).encode()


def epoch_seconds(at_ns: int) -> float:
    """With milliseconds."""
    return at_ns // 1_000_000 / 1000


def shaped(shape: Shape | Any, value: Any, stamp: Callable[[int], Any] = epoch_seconds) -> Any:
    """A result as the model shapes it. Timestamps come as nanoseconds and leave as `stamp` writes them."""
    if shape.type_name == "structure":
        return {
            name: shaped(member, value[name], stamp)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if shape.type_name == "list":
        return [shaped(shape.member, item, stamp) for item in value]
    if shape.type_name == "timestamp":
        return stamp(value)
    return value


def render_error(error: EcsError) -> bytes:
    """`__type` must be in the body: CLI 2.9 and boto3 1.44 ignore the header of that purpose (measured)."""
    return json.dumps({"__type": error.code, "message": error.message}).encode()


def _serialization(message: str) -> EcsError:
    return EcsError("SerializationException", message)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    assert not isinstance(value, float) or not math.isnan(value)
    return names[type(value)]
