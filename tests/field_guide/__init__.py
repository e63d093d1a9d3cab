"""The field guide: servers stopped with each of their signals, and bad samples beside their cured twins.

field-guide/*.yaml, guide.toml ─▶ scenarios ─▶ measured.json ─▶ docs/field-guide.md
                      index.py               measure.py       docs/field_guide.py
"""
