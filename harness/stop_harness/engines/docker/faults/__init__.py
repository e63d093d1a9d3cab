"""Faults of containers, made through the engine's API, and on the engine's machine where that is this one.

`refusals`: what cannot be made, said before anything starts. `making`: one fault of one container. The other modules
hold a few kinds each.
"""
