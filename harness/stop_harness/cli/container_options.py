"""The options of `check` that give its container what `docker run` gives one, from the table of `container_keys`."""

from __future__ import annotations

import click

from stop_harness.scenario import container_keys

_SETTINGS = tuple(
    click.Option([row.option, container_keys.parameter(row)], multiple=row.many, metavar=row.metavar, help=row.help)
    if row.metavar
    else click.Option([row.option, container_keys.parameter(row)], is_flag=True, help=row.help)
    for row in container_keys.KEYS
    if row.option
)
_HEALTH = (
    click.Option(["--health-interval"], metavar="DURATION", help="Check its health this often."),
    click.Option(["--health-timeout"], metavar="DURATION", help="Fail a check that takes longer."),
    click.Option(["--health-start-period"], metavar="DURATION", help="Let checks fail for so long after its start."),
    click.Option(["--health-retries"], type=click.IntRange(1), metavar="N", help="Call it unhealthy after N failures."),
    click.Option(["--no-healthcheck"], is_flag=True, help="Run it without a health check, whatever the image has."),
)

CONTAINER_OPTIONS: tuple[click.Parameter, ...] = (*_SETTINGS, *_HEALTH)
"""In the table's order."""
