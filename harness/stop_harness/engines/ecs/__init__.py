"""The ecs engine: subjects are tasks of an Amazon ECS cluster."""
