"""`explore`: a search for the stop that breaks.

    scenario ─▶ space ─▶ standard candidates, then random ones ─▶ the first that fails ─▶ made smaller ─▶ BreakingStop

`candidate`: one stop to try. `space`: what may vary. `simpler`: which candidates are smaller than another.
`random_search`: hypothesis draws. `past_failures`: what was found before. `search`: the order of all that. Nothing in
here knows an engine: a `CandidateBench` tries candidates.
"""
