"""Compose files → what is stopped.

    files ─▶ Project ─▶ the service with what it needs, or the whole project ─▶ Scenario
      loading    project          group, and for each service: service

`loading` has the project read by Compose itself where that is installed, else by `reader` (over `tree`, `merge` and
`paths`), which also knows the line of every key. `service` says what a container is given, `keys` what is not applied,
`values` how Compose writes things. Only `loading` and `by_compose` touch this machine.
"""
