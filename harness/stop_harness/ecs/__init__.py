"""Amazon ECS, read once: task definitions, dependencies between containers, stop timeouts, names. Pure.

Both sides of the wire need to know the same of these: `ecs_endpoint`, which plays ECS, and `engines/ecs` and
`ecs_client`, which call it. Nothing here knows the API itself, so that a misreading of it cannot be made on both sides.
"""
