"""`python -P -m trainer RUN_DIR`: a host process for one run."""

import sys

from trainer.host import run_host

sys.exit(run_host(sys.argv[1:]))
