"""An ECS-compatible endpoint whose tasks are real containers of a container engine.

    client ─▶ server.py ─▶ wire.py ─▶ service.py ─▶ agent.py ─▶ tasks.py (pure)
               HTTP        botocore's   operations    one thread  what the task is now,
                           own model                  a container what must be done next
                                                         │
                                                     containers.py (docker) · simulated_containers.py (scripts)

Pure: `grace` (stop timeouts), `definitions` (task definitions and their dependency graph), `identifiers` (ARNs),
`tasks` (lifecycle and stop order), `rollout` (services). They meet engines/ecs.py only on the wire.
"""
