"""The trainer, which says how long some acts took: a line {"observed": ACT, …} for each.

    python -m benchmarks.scripts.observed_worker [the trainer's flags]

"part" of a feature cache: split, images; "loop": steps, secs; "checkpoint": secs; "agreement":
about, secs. Each has the time at which it was over, seconds since 1970.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings.command_line import exit_process


def main(argv: list[str]) -> int:
    """See the module."""
    import_tensorflow()
    from trainer import task
    from trainer.engine.feature_extraction import Extraction
    from trainer.engine.train_step import TrainStep
    from trainer.loop import train
    from trainer.workers.heartbeat import Heartbeat

    shards = Extraction.shards

    def observed_shards(self: Any, split: str, *arguments: Any) -> Iterator[Any]:
        for number, shard in shards(self, split, *arguments):
            yield number, shard
            _tell("part", split=split, images=len(shard.labels))

    holder: Any = Extraction
    holder.shards = observed_shards
    _time(train, "_save", "checkpoint")
    _time(Heartbeat, "agree", "agreement", lambda arguments, _: {"about": arguments[1]})
    _time(TrainStep, "run", "loop", lambda _, result: {"steps": len(result[0])})
    return task.main(argv)


def _time(
    holder: Any,
    name: str,
    act: str,
    figures: Callable[[Any, Any], dict[str, Any]] = lambda arguments, result: {},
) -> None:
    function = getattr(holder, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **named)
        _tell(act, secs=time.perf_counter() - began, **figures(arguments, result))
        return result

    setattr(holder, name, timed)


def _tell(act: str, **figures: Any) -> None:
    print(json.dumps({"observed": act, "at": time.time(), **figures}), flush=True)


if __name__ == "__main__":
    exit_process(main(sys.argv[1:]))
