"""`python -P -m trainer RUN_DIR`: a host process for one run. What it prints goes to host.log, without keys."""

import sys

from trainer import secrets
from trainer.host import run_host

secrets.install()
sys.exit(run_host(sys.argv[1:]))
