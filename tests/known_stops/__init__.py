"""The known stops: images whose stops were measured by hand, run as one run and compared with what is known.

    case.json ─▶ KnownStop ─▶ Measured ─▶ differences ─▶ test results, docs/known-stops.md
      cases.py    images.py    measure.py    page.py

The folders are not part of the project; STOP_HARNESS_KNOWN_STOPS names the folder that holds them.
"""
