"""Runs: what is asked, what happens, what comes out. Knows nothing of terminals."""

__version__ = "0.1.0"
TRUST_CODE = "FINETUNEGEM_TRUST_REMOTE_CODE"
"""Set to 1 in a host's environment by `--trust-remote-code` alone: code that comes with a model may run there.

It stands in no spec and no preset, so that nobody is asked to trust by a file of somebody else."""
