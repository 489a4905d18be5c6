"""The command `finetunegem`: exit code out. Without arguments it opens the screen and reads only what that needs."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from trainer import TRUST_CODE


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    os.environ.pop(TRUST_CODE, None)  # only a flag asks for that, never a line in somebody's profile
    try:
        # Each is imported only when it is what was asked for: the first frame waits for no parser.
        if given:
            from tui.arguments import run

            return run(given)
        gc.disable()  # nothing is garbage before the first frame; the app turns it on again once that stands
        from tui.app import open_app

        return open_app(default_runs_dir())
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from tui.crash import report

        print(report(error), file=sys.stderr)
        return 1


def default_runs_dir() -> Path:
    return Path(os.environ.get("FINETUNEGEM_RUNS") or "runs")


if __name__ == "__main__":
    sys.exit(main())
