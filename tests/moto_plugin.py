"""A plugin for moto's own ECS tests: each meets a fresh endpoint of ours, over scripted containers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _support() -> Any:
    """By its file: in moto's tests the package `tests` is moto's."""
    spec = importlib.util.spec_from_file_location("ecs_support", Path(__file__).with_name("ecs_support.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def our_endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto stands for EC2 and the other services; calls to ECS come to us."""
    with _support().simulation() as it:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", it.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        yield
