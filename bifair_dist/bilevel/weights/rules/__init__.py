"""The weighting rules, one a file: its equation, its source, its settings.

A file put here is a rule known everywhere.
"""
