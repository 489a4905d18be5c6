"""From the form to a run: what the files say about it, and the start once they have said it. It knows no widgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tui.form import Form
from tui.looker import Looker

if TYPE_CHECKING:
    from trainer.rundir import RunDir
    from trainer.spare import Spare
    from trainer.spec import RunSpec
    from tui.data_worker import Counter


class Launchpad:
    """`looked_at` is the spec that the form's prospect is about: only that one is started."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.looked_at: RunSpec | None = None
        self.starting = self.trying = False
        self._failure = self._said = self._tried = ""
        self._wanted = False  # a start waits for what the files say
        self._looker = Looker()
        self._counter: Counter | None = None
        self._spare: Spare | None = None
        self._ended = False

    @property
    def can_start(self) -> bool:
        return not self.starting and not self.form.reason()

    @property
    def reason(self) -> str:
        """What stands in the way, or went wrong; "" where nothing does."""
        return self._failure or self.form.reason()

    @property
    def said(self) -> str:
        """What is good to know; "" where nothing is."""
        return "starting…" if self.starting else self._said or self._tried

    def say(self, said: str = "", failure: str = "") -> None:
        """The form is another one now, or something was done with it: what there is to say about that."""
        self._said, self._failure, self._tried = said, failure, ""
        self._wanted = False

    async def look(self) -> bool:
        """Ask the files about the form as it stands; whether a start that waited for them can be made now."""
        spec = self.form.spec()
        if spec is None:
            return False
        self.form.look(await self._looker.look(spec))
        self.looked_at = spec
        wanted, self._wanted = self._wanted, False
        if wanted and self.form.spec() != spec:
            self._said = "Set for this model: look at the learning rate, then start."
            return False
        return wanted

    async def count(self) -> bool:
        """Count the rows in the model's tokens, for what max length cuts; whether there is news of it."""
        from tui.data_worker import Counter  # the first frame does not wait for it

        spec = self.form.spec()
        if spec is None or self.form.prospect is None or self.form.prospect.lengths is not None:
            return False
        self._counter = Counter()
        lengths = await self._counter.count(spec)
        if lengths is None or self.form.spec() != spec:
            return False
        self.form.hear(lengths)
        return True

    async def try_out(self, runs_dir: Path, show: Callable[[], object]) -> None:
        """A dry run of the form as it stands, in a process of its own; `show` is called with all there is to say."""
        from tui.dry_runner import try_out  # the first frame does not wait for it

        spec = self.form.spec()
        if spec is None:
            return

        def tell(going: str) -> None:
            self._tried = f"dry run: {going} (f3 cancels)"
            show()

        self.trying = True
        self._failure = ""
        try:
            tell("starting")
            line, failure = await try_out(spec, runs_dir, tell)
            self._tried, self._failure = line, failure
        except asyncio.CancelledError:
            self._tried = ""
            raise
        finally:
            self.trying = False
            show()

    def warm_up(self) -> None:
        """Make a spare host, for the start that may come. In a thread: its imports are not for the first frame."""
        from trainer import launch, spare

        self._spare = made = spare.Spare()
        if not self._ended:
            made.start(launch.host_environment())

    async def end(self) -> None:
        """Nothing is counted any more when this returns, and no host waits."""
        self._ended = True
        if self._spare is not None:
            self._spare.end()
        if self._counter is not None:
            await self._counter.end()

    def wants_look(self) -> bool:
        """A start is asked for: whether the files must be asked first; it is made once they have answered."""
        self._wanted = self.form.spec() != self.looked_at
        return self._wanted

    async def start(self, runs_dir: Path) -> RunDir | None:
        """Start the run; None where that failed. Where it did not, it stays "starting": another screen comes."""
        from trainer import launch  # the first frame does not wait for it
        from trainer.rundir import RunError

        assert self.looked_at is not None
        given = (self._spare,) if self._spare is not None else ()
        try:
            return await asyncio.to_thread(launch.start, runs_dir, self.looked_at, *given)
        except RunError as error:
            self.starting = False
            self.say(failure=str(error))
            return None
