"""The reader of legacy torch checkpoints: the numbers of shared and transposed storages."""

import collections
import io
import pickle
import struct
from typing import Any

import numpy as np
import pytest

from trainer.models import torch_weights

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
HEADER = (MAGIC_NUMBER, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})


class Global:
    """Pickles as a reference to a name, whether or not such a module is installed."""

    def __init__(self, module: str, name: str, call: tuple | None = None):
        self.module, self.name, self.call = module, name, call


class Storage:
    """Pickles as a persistent id, as torch's storages do."""

    def __init__(self, kind: str, key: str, values: np.ndarray):
        self.kind, self.key, self.values = kind, key, values


# The pickler written in Python can be taught to write any name; it is not in the type stubs.
PythonPickler: Any = pickle._Pickler


class TorchPickler(PythonPickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            kind = Global("torch", obj.kind)
            return ("storage", kind, obj.key, "cpu", len(obj.values), None)
        return None

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Global):
            return super().save(obj, save_persistent_id)
        self.write(b"c" + obj.module.encode() + b"\n" + obj.name.encode() + b"\n")
        if obj.call is not None:
            super().save(obj.call)
            self.write(b"R")
        return None


def tensor(storage: Storage, offset: int, size: tuple, stride: tuple) -> Global:
    hooks: dict = collections.OrderedDict()
    call = (storage, offset, size, stride, False, hooks)
    return Global("torch._utils", "_rebuild_tensor_v2", call)


def checkpoint(saved, storages=()) -> bytes:
    stream = io.BytesIO()
    for part in (*HEADER, saved, [storage.key for storage in storages]):
        TorchPickler(stream, protocol=2).dump(part)
    for storage in storages:
        stream.write(struct.pack("<q", len(storage.values)) + storage.values.tobytes())
    return stream.getvalue()


def read(tmp_path, content: bytes) -> dict[str, np.ndarray]:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return torch_weights.load(str(path))


def test_reads_views_of_shared_storages(tmp_path):
    floats = Storage("FloatStorage", "17", np.arange(12, dtype="<f4"))
    counter = Storage("LongStorage", "4", np.array([7], "<i8"))
    saved = collections.OrderedDict(
        whole=tensor(floats, 0, (3, 4), (4, 1)),
        transposed=tensor(floats, 0, (4, 3), (1, 4)),
        row=tensor(floats, 8, (4,), (1,)),
        steps=tensor(counter, 0, (), ()),
    )
    weights = read(tmp_path, checkpoint(saved, [counter, floats]))
    assert list(weights) == ["whole", "transposed", "row", "steps"]
    expected = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(weights["whole"], expected)
    np.testing.assert_array_equal(weights["transposed"], expected.T)
    np.testing.assert_array_equal(weights["row"], expected[2])
    assert weights["steps"].shape == ()
    assert weights["steps"] == 7
    assert weights["steps"].dtype == np.int64
    assert all(value.flags.c_contiguous and value.flags.owndata for value in weights.values())


def test_a_file_that_names_anything_else_is_refused(tmp_path):
    content = checkpoint({"weight": Global("os", "system", ("true",))})
    with pytest.raises(pickle.UnpicklingError, match=r"os\.system: no part of a state dict"):
        read(tmp_path, content)
