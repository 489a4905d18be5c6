"""Runs: what is asked, what happens, what comes out. Knows nothing of terminals."""

__version__ = "0.1.0"
