"""The options of `check` that give its container what `docker run` gives one, from the table of `container_keys`."""

from __future__ import annotations

import click

from stop_harness.cli.options import Decorated
from stop_harness.scenario import container_keys


def container_options(command: Decorated) -> Decorated:
    """Put them on a command, in the table's order."""
    for option in reversed((*_SETTINGS, *_HEALTH)):
        command = option(command)
    return command


_SETTINGS = tuple(
    click.option(row.option, container_keys.parameter(row), multiple=row.many, metavar=row.metavar, help=row.help)
    if row.metavar
    else click.option(row.option, container_keys.parameter(row), is_flag=True, help=row.help)
    for row in container_keys.KEYS
    if row.option
)
_HEALTH = (
    click.option("--health-interval", metavar="DURATION", help="Check its health this often."),
    click.option("--health-timeout", metavar="DURATION", help="Fail a check that takes longer."),
    click.option("--health-start-period", metavar="DURATION", help="Let checks fail for so long after its start."),
    click.option("--health-retries", type=click.IntRange(1), metavar="N", help="Call it unhealthy after N failures."),
    click.option("--no-healthcheck", is_flag=True, help="Run it without a health check, whatever the image has."),
)
