"""Read a legacy PyTorch checkpoint (`.pth`) into NumPy, without torch.

The format is what `torch.save` wrote before its zip format (PyTorch 1.6): `_legacy_save` in
`torch/serialization.py` of https://github.com/pytorch/pytorch. One file holds, in this order:

1. four pickles: a magic number, the protocol version, a description of the writer, and the saved
   object, in which a tensor is a call of `_rebuild_tensor_v2(storage, offset, size, stride, ...)`
   and a storage is the persistent id `("storage", <type>, key, location, num_elements, view)`;
2. a pickle of the list of storage keys, in the order of what follows;
3. for each key: the number of elements as a little-endian int64, and the elements' raw bytes.
"""

from __future__ import annotations

import collections
import pickle
from typing import Any, NamedTuple

import numpy as np

_TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Tensor(NamedTuple):
    """A view of a storage; offset, size and stride are in elements."""

    storage: tuple[str, str]
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Admits what a state dict consists of, and imports nothing that a file names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _Tensor(*arguments[:4])
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name}: no part of a state dict")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, dtype, key, *_ = pid
        return str(key), dtype


def load(path: str) -> dict[str, np.ndarray]:
    """Read the state dict in the file at `path`, whose checksum the caller knows.

    Returns:
        The tensors by name, in the file's order: C-contiguous float32 or int64 arrays.

    Raises:
        pickle.UnpicklingError: the file names anything but tensors.
    """
    with open(path, "rb") as file:
        _, _, _, saved, keys = (_Unpickler(file).load() for _ in range(5))
        dtypes = dict(tensor.storage for tensor in saved.values())
        storages = {}
        for key in keys:
            (count,) = np.frombuffer(file.read(8), "<i8")
            dtype = np.dtype(dtypes[key])
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {name: _to_array(tensor, storages[tensor.storage[0]]) for name, tensor in saved.items()}


def _to_array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    itemsize = storage.itemsize
    strides = [stride * itemsize for stride in tensor.stride]
    view = np.ndarray(tensor.size, storage.dtype, storage, tensor.offset * itemsize, strides)
    return np.array(view, order="C")
