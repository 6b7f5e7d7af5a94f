"""A workdir in a bucket, on the tests' emulator: ours beside TensorFlow writing gs:// itself.

    python -m benchmarks.scripts.object_storage DELAY_SECS

The emulator and its proxy, which adds DELAY_SECS to every request and counts, have the last core,
what is measured has the others: a bucket is no part of a trainer's machine. Prints a line {"phase",
"secs", "requests", "bytes"} for each act; see benchmarks/scripts/bucket_user.py.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import gcs


def main(delay_secs: float) -> int:
    """See the module."""
    cores = sorted(os.sched_getaffinity(0))
    own, others = ({cores[-1]}, set(cores[:-1])) if len(cores) > 1 else (set(cores), set(cores))
    os.sched_setaffinity(0, own)
    with tempfile.TemporaryDirectory() as scratch, gcs.serve(Path(scratch)) as server:
        server.proxy.delay_secs = delay_secs
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scripts.bucket_user"],
            env={**os.environ, **server.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, others),
        ) as user:
            assert user.stdout is not None
            assert user.stdin is not None
            for line in user.stdout:
                if not line.startswith("{"):
                    continue
                # What only says whether the client may be used is no request of storage.
                seen = [
                    r for r in server.proxy.requests if "/o" in r.target or "/bucket/" in r.target
                ]
                counts = {"requests": len(seen), "bytes": server.proxy.bytes_received()}
                print(json.dumps({**json.loads(line), **counts}), flush=True)
                server.proxy.requests = []
                print("next", file=user.stdin, flush=True)
    return user.returncode


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
