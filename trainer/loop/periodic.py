"""The periodic actions of a run: curves, profile, checkpoint timer."""

from __future__ import annotations

import time

from trainer.board import event_upload
from trainer.board.event_writer import SummaryWriter
from trainer.engine.profiling import Profiler
from trainer.engine.run import Run
from trainer.settings.plan import CheckpointTimer, LoopLength
from trainer.workdir import paths


class PeriodicActions:
    """The periodic actions of one run, and the next step at which one needs the host.

    Args:
        run: the run.
        step: at which it starts or resumes.

    Attributes:
        summary_writer: the TensorBoard curves.
        timer: of the checkpoints.
        loop_length: the number of steps to the next loop boundary.
    """

    def __init__(self, run: Run, step: int) -> None:
        config, writes = run.config, run.workers.is_chief
        self._run = run
        self._logs = paths.part(config.workdir, "logs")
        self._upload = event_upload.open_upload(
            self._logs, run.upload_queue, config.log_upload_secs, writes
        )
        self._profiler = Profiler(config.profile_steps if writes else (), self._logs)
        self.summary_writer = self._open_summaries(step)
        self.timer = CheckpointTimer(
            config.checkpoint_every_steps, config.checkpoint_every_secs, time.monotonic
        )
        self.loop_length = LoopLength()

    def flush(self) -> None:
        """Upload the curves if due; raise the error of a failed upload."""
        self._run.upload_queue.check()
        self.summary_writer.flush_if_due()

    def next_step(self, step: int) -> int:
        """Return the next loop boundary after `step`."""
        plan = self._run.plan
        return min(
            step + self.loop_length.steps,
            plan.next_evaluation(step),
            self.timer.next_step(step, plan.num_steps),
            self._profiler.next_step(step),
        )

    def profile(self, step: int) -> None:
        """Start or end the profile if that is due after `step` steps."""
        self._profiler.at(step)

    def roll_back(self, step: int) -> None:
        """Roll the curves back to `step`."""
        self.summary_writer.close()
        self._run.upload_queue.flush()
        self.summary_writer = self._open_summaries(step)

    def end_profile(self) -> None:
        """Write the profile, if one has started."""
        self._profiler.close()

    def close(self) -> None:
        """Write the rest of the curves."""
        self.summary_writer.close()
        if self._upload is not None:
            self._upload.discard()

    def _open_summaries(self, step: int) -> SummaryWriter:
        return SummaryWriter(
            self._logs,
            step,
            self._upload,
            self._run.workers.is_chief,
            self._run.reporter.warn,
            self._run.config.log_every_steps,
        )
