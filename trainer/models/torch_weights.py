"""Read a legacy PyTorch checkpoint (`.pth`) into NumPy, without torch and without executing it.

The legacy format is what `torch.save` wrote before its zip format (PyTorch 1.6), and still writes
with `_use_new_zipfile_serialization=False`. Its definition is `torch/serialization.py`
(`_legacy_save`, `_legacy_load`) and `torch/_utils.py` (`_rebuild_tensor_v2`) in
https://github.com/pytorch/pytorch. One file holds, in this order:

1. four pickles: a magic number, the protocol version 1001, a description of the writer
   (`{"little_endian": True, ...}`), and the saved object, in which a tensor is a call of
   `_rebuild_tensor_v2(storage, offset, size, stride, ...)` and a storage is the persistent id
   `("storage", <type>, key, location, num_elements, view)`;
2. a pickle of the list of storage keys, in the order of what follows;
3. for each key: the number of elements as a little-endian int64, and the elements' raw bytes.

A pickle is a program. Only the few names below are ever looked up, and each stands for an inert
value of ours; any other name ends the reading before anything it refers to is imported or called.
"""

import collections
import math
import pickle
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from trainer.process.errors import UserError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001


def load(path: str) -> dict[str, np.ndarray]:
    """Reads the state dict in the file at `path`.

    Args:
        path: a local file in the legacy format whose saved object is a flat dictionary from
            names to tensors.

    Returns:
        The tensors by name, in the file's order: C-contiguous arrays of their own memory, of the
        tensor's shape and type (float16, float32, float64, uint8, int8, int16, int32, int64).

    Raises:
        UserError: the file is missing or truncated, is not of this format, or names anything but
            tensors. Nothing in it has been executed.
    """
    try:
        with open(path, "rb") as file:
            storage_types: dict[str, tuple[str, int]] = {}
            tensors = _read_tensors(file, storage_types)
            storages = _read_storages(file, storage_types)
        return {name: _to_array(t, storages[t.storage]) for name, t in tensors.items()}
    # A damaged pickle can fail in almost any way, and each of them means the same to the reader.
    except Exception as error:
        raise UserError(
            f"cannot read the weights in {path}: {error or type(error).__name__}. The file must "
            "be a whole PyTorch checkpoint in the legacy format that holds nothing but tensors; "
            "install the package it comes from again."
        ) from error


class _Tensor(NamedTuple):
    """A view of a storage; offset, size and stride are in elements."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class _RebuildTensor:
    """What stands for `_rebuild_tensor_v2`: records its arguments.

    An instance per look-up and no attributes, so that a pickle that goes on to "set the state" of
    what it was given has nothing to set.
    """

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *unused: Any) -> _Tensor:
        return _Tensor(storage, offset, size, stride)


# Strings stand for the types: np.dtype has a __setstate__ that a pickle could call, str has not.
_STORAGE_TYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "ByteStorage": "|u1",
    "CharStorage": "|i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}


class _Unpickler(pickle.Unpickler):
    """Admits the names a state dict consists of, and notes the type of every storage."""

    def __init__(self, file: BinaryIO, storage_types: dict[str, tuple[str, int]]):
        super().__init__(file)
        self._storage_types = storage_types

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: Any) -> str:
        kind, dtype, key, _, num_elements, view = pid
        if kind != "storage" or dtype not in _STORAGE_TYPES.values() or view is not None:
            raise pickle.UnpicklingError("it refers to something that is not a storage")
        self._storage_types[str(key)] = (dtype, int(num_elements))
        return str(key)


class _Plain(pickle.Unpickler):
    """Admits no names at all: numbers, strings, lists and dictionaries."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs")


def _read_tensors(file: BinaryIO, storage_types: dict[str, tuple[str, int]]) -> dict[str, _Tensor]:
    """Part 1: the saved object; what it says of its storages is added to `storage_types`."""
    if _Plain(file).load() != _MAGIC_NUMBER:
        raise ValueError("it does not start with the magic number of the legacy format")
    if (version := _Plain(file).load()) != _PROTOCOL_VERSION:
        raise ValueError(f"its protocol version is {version}, not {_PROTOCOL_VERSION}")
    if not _Plain(file).load()["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    saved = _Unpickler(file, storage_types).load()
    if not isinstance(saved, dict) or not all(isinstance(t, _Tensor) for t in saved.values()):
        raise ValueError("what it holds is not a flat dictionary of tensors")
    return {str(name): tensor for name, tensor in saved.items()}


def _read_storages(
    file: BinaryIO, storage_types: dict[str, tuple[str, int]]
) -> dict[str, np.ndarray]:
    """Parts 2 and 3: every storage as a flat array."""
    storages = {}
    for key in _Plain(file).load():
        dtype, expected = storage_types[key]
        (num_elements,) = struct.unpack("<q", file.read(8))
        if num_elements != expected:
            raise ValueError(f"storage {key} has {num_elements} elements, not {expected}")
        num_bytes = num_elements * np.dtype(dtype).itemsize
        content = file.read(num_bytes)
        if len(content) != num_bytes:
            raise ValueError(f"it ends within storage {key}")
        storages[key] = np.frombuffer(content, dtype)
    return storages


def _to_array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    # A stride of 0 would let a short file claim a tensor of any size.
    if math.prod(tensor.size) > storage.size:
        raise ValueError(f"a tensor of shape {tensor.size} is larger than its storage")
    itemsize = storage.itemsize
    strides = [stride * itemsize for stride in tensor.stride]
    # np.ndarray itself refuses a view that leaves the buffer.
    view = np.ndarray(tensor.size, storage.dtype, storage, tensor.offset * itemsize, strides)
    return np.array(view, order="C")
