"""`import tensorflow` in N processes at once, each with its share of the cores.

    python -m benchmarks.scripts.imports N

Prints {"import_secs": …}: from the start of the processes to the end of the last one.
"""

import json
import os
import sys
import time

from trainer.launch.local import launch

_CODE = "from trainer.process.tensorflow_import import import_tensorflow; import_tensorflow()"


def main(num_processes: int) -> int:
    """See the module."""
    began = time.monotonic()
    command = [sys.executable, "-c", _CODE]
    code = launch.run(command, os.environ, lambda worker, line: None, num_processes, 0, 60.0)
    print(json.dumps({"import_secs": time.monotonic() - began}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
