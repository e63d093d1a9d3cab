"""`explore`: a search for the stop that breaks.

    scenario ─▶ space ─▶ standard candidates, then random ones ─▶ the first that fails ─▶ made smaller ─▶ BreakingStop

`candidate`: one stop to try. `space`: what may vary. `simpler`, `nearby`: which candidates are smaller than another, or
near it. `sweep`, `pairs`: points in time, and changes in pairs. `random_search`: those, and what hypothesis draws.
`past_failures`: what was found before. `search`: the order of all that. `result`: what it came to. `written`: the
scenario file of that. Nothing in here knows an engine: a `CandidateBench` tries candidates.
"""
