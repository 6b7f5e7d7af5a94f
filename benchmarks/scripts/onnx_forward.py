"""The embedded backbone in ONNX Runtime, alone.

    python -m benchmarks.scripts.onnx_forward export FILE
    python -m benchmarks.scripts.onnx_forward FILE

The first writes the backbone as PyTorch exports it, the second times it on batches of 32 and
prints a line of JSON as `forward` does.
"""

import json
import os
import sys

from benchmarks.scripts.timing import BATCH_SIZE, a_batch, ms_per_image


def export(path: str) -> None:
    """Write the backbone, weights and all, as one ONNX file for batches of 32."""
    import torch

    from benchmarks.scripts import torch_backbone

    size = torch_backbone.IMAGE_SIZE
    torch.onnx.export(
        torch_backbone.load(),
        (torch.zeros(BATCH_SIZE, 3, size, size),),
        path,
        dynamo=True,
        external_data=False,
    )


def measure(path: str) -> None:
    """Time the file with a thread for each core; every graph optimization is on by default."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    images = np.ascontiguousarray(a_batch().transpose(0, 3, 1, 2))
    features = session.run(None, {name: images})[0]
    line = {"ms_per_image": ms_per_image(lambda: session.run(None, {name: images}))}
    print(json.dumps({**line, "feature_mean": float(features.mean())}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(sys.argv[2])
    else:
        measure(sys.argv[1])
