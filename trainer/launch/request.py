"""The request of `graft submit`, checked before anything is sent."""

from __future__ import annotations

import dataclasses
import re

from trainer.process.errors import UserError
from trainer.settings.config import Config

_LONGEST_NAME = 45  # the host name of a pod appends to it, up to 63 characters
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035, as a Service's


@dataclasses.dataclass(frozen=True)
class Request:
    """A run to be started on a platform.

    Attributes:
        config: of the run.
        trainer_argv: its flags of `graft train`.
        image: the container image that has the trainer.
        name: of the job, see `name_of`.
        num_workers: processes that train.
        dry_run: `yaml` or `json`: print the request instead of sending it; or empty.
        wait: return when the run has ended.
    """

    config: Config
    trainer_argv: tuple[str, ...]
    image: str
    name: str
    num_workers: int = 1
    dry_run: str = ""
    wait: bool = False

    def __post_init__(self) -> None:
        if not self.image:
            raise UserError("--image: required; the container image that has the trainer")
        if any(c.isspace() for c in self.image) or self.image.startswith("-"):
            raise UserError(f"--image={self.image}: must be REGISTRY/NAME:TAG or …@sha256:DIGEST")
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST_NAME:
            raise UserError(
                f"--name={self.name}: must be a letter, then letters, digits and dashes, all in "
                f"lower case, at most {_LONGEST_NAME}"
            )
        if not 1 <= self.num_workers <= 10_000:
            raise UserError(f"--num_workers={self.num_workers}: must be a number from 1 to 10,000")


def name_of(workdir: str) -> str:
    """Return the last part of `workdir` as a DNS label (RFC 1035).

    The same workdir gives the same name, so that submitting it again finds the existing job.
    """
    last = workdir.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")
    name = name if name[:1].isalpha() else f"run-{name}".strip("-")
    return name[:_LONGEST_NAME].rstrip("-")
