"""Two workers of a core each; one is killed, all are started again, and training goes on.

    python -m benchmarks.scripts.restart KILL_AFTER_STEP [the trainer's flags]

Prints {"noticed_secs", "first_step_secs", "new_step_secs"}: from the SIGKILL until both workers had
left, until the first step after the restart, and until the first one that had not been done before.
"""

import json
import os
import signal
import sys
import time

from trainer.launch.local import launch
from trainer.launch.local.gang import Gang

_KILLED = 1


class _IsOver(Exception):
    """All is measured."""


class Watcher:
    """Hears the workers, and kills one of them once.

    Args:
        kill_after: steps done.
    """

    def __init__(self, kill_after: int) -> None:
        self.figures: dict[str, float] = {}
        self._kill_after = kill_after
        self._killed_at: float | None = None
        self._attempts = self._step = 0

    def tell(self, worker: int | None, line: str) -> None:
        """Take in a line of a worker's, or of the launcher's (None)."""
        if worker is None:
            print(line, file=sys.stderr, flush=True)
            self._attempts += line.startswith("starting ")
            if self._attempts == 2 and "noticed_secs" not in self.figures:
                self._note("noticed_secs")
        if not line.startswith("{"):
            return
        said = json.loads(line)
        if str(said.get("message", "")).startswith("training "):
            self._did(said["done"])

    def watch(self, gang: Gang) -> None:
        """Kill when it is time; end when it is over."""
        if "new_step_secs" in self.figures:
            raise _IsOver
        if self._killed_at is None and self._step >= self._kill_after and _KILLED in gang.left:
            self._killed_at = time.monotonic()
            gang.send_signal(signal.SIGKILL, _KILLED)

    def _did(self, step: int) -> None:
        if self._attempts == 2:
            if "first_step_secs" not in self.figures:
                self._note("first_step_secs")
            if step > self._step and "new_step_secs" not in self.figures:
                self._note("new_step_secs")
        else:
            self._step = step  # also what was on its way when the signal was sent

    def _note(self, name: str) -> None:
        if self._killed_at is not None:
            self.figures[name] = time.monotonic() - self._killed_at


def main(argv: list[str]) -> int:
    """See the module."""
    watcher = Watcher(int(argv[0]))
    worker = [sys.executable, "-m", "trainer.task", "--log_format=json", "--log_progress_secs=0"]
    try:
        code = launch.run([*worker, *argv[1:]], os.environ, watcher.tell, 2, 1, 10.0, watcher.watch)
    except _IsOver:
        print(json.dumps(watcher.figures), flush=True)
        return 0
    return code or 1  # it was over before it was killed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
