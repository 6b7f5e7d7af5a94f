"""Stands in for the trainer under `graft launch`: does what plan.json says for its attempt.

    stand_in_worker.py DIRECTORY [ignored flags]

The plan is a list by attempt of actions by worker: "exit N", "wait" (for a signal, then exit with
128 + its number), "ignore" (signals, for ever), "die" (by SIGKILL), "speak" (lines, then exit 0),
"finish" (exit 0). Each start leaves a line in DIRECTORY/<index>.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Read the plan, and do it."""
    directory = Path(sys.argv[1])
    config = json.loads(os.environ["TF_CONFIG"])
    index = config["task"]["index"]
    log = directory / str(index)
    attempt = len(log.read_text().splitlines()) if log.exists() else 0
    action = json.loads((directory / "plan.json").read_text())[attempt][index]
    if action == "ignore":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os._exit(128 + number))
    # A process of the worker's own, which must not outlive it either.
    child = subprocess.Popen(["sleep", "1000"]) if action == "ignore" else None
    facts = {
        "pid": os.getpid(),
        "child": child.pid if child else None,
        "cores": sorted(os.sched_getaffinity(0)),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cluster": config["cluster"]["worker"],
    }
    with log.open("a") as stream:
        stream.write(json.dumps(facts) + "\n")
    if action.startswith("exit "):
        os._exit(int(action.split()[1]))
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "speak":
        print("one line\r\nanother", flush=True)
        print("an error: größe", file=sys.stderr, flush=True)
        os.write(1, b"\xff and no end of line")
    if action in ("wait", "ignore"):
        print("waiting", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
