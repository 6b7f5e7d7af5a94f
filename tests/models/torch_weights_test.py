"""The reader of legacy torch checkpoints: right numbers, and no way to make it execute anything."""

import collections
import io
import pickle
import struct
import sys
from typing import Any

import numpy as np
import pytest

from trainer.models import torch_weights
from trainer.process.errors import UserError

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


def checkpoint(saved, storages=(), header=HEADER) -> bytes:
    stream = io.BytesIO()
    for part in (*header, saved, [storage.key for storage in storages]):
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


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("numpy", "save")],
)
@pytest.mark.parametrize("part", range(5))
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, module, name, part):
    evidence = tmp_path / "executed"
    attack = Global(module, name, (f"touch {evidence}",))
    parts = [*HEADER, {"weight": attack}, [attack]]
    parts[part] = attack
    stream = io.BytesIO()
    for item in parts:
        TorchPickler(stream, protocol=2).dump(item)
    with pytest.raises(UserError, match=rf"asks for {module}\.{name}, which no tensor needs"):
        read(tmp_path, stream.getvalue())
    assert not evidence.exists()


@pytest.mark.integration  # it runs a command
def test_the_attack_that_is_refused_would_have_worked(tmp_path):
    evidence = tmp_path / "executed"
    stream = io.BytesIO()
    TorchPickler(stream, protocol=2).dump(Global("os", "system", (f"touch '{evidence}'",)))
    pickle.loads(stream.getvalue())
    assert evidence.exists()
    assert "torch" not in sys.modules


def test_a_file_cut_anywhere_is_refused(tmp_path):
    storage = Storage("FloatStorage", "1", np.arange(4, dtype="<f4"))
    content = checkpoint({"w": tensor(storage, 0, (4,), (1,))}, [storage])
    assert read(tmp_path, content)["w"].tolist() == [0, 1, 2, 3]
    for length in range(len(content)):
        with pytest.raises(UserError, match=r"cannot read the weights in .*weights\.pth"):
            read(tmp_path, content[:length])


STORAGE = Storage("FloatStorage", "1", np.arange(4, dtype="<f4"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\3\4 the zip format", "cannot read"),
        (checkpoint({}, header=(1, 1001, HEADER[2])), "magic number"),
        (checkpoint({}, header=(MAGIC_NUMBER, 1002, HEADER[2])), "protocol version is 1002"),
        (checkpoint({}, header=(*HEADER[:2], {"little_endian": False})), "big-endian"),
        (checkpoint([1, 2]), "not a flat dictionary of tensors"),
        (checkpoint({"nested": {"w": 1}}), "not a flat dictionary of tensors"),
        (checkpoint({"w": tensor(STORAGE, 2, (4,), (1,))}, [STORAGE]), "cannot read"),
        (checkpoint({"w": tensor(STORAGE, -1, (1,), (1,))}, [STORAGE]), "cannot read"),
        (checkpoint({"w": tensor(STORAGE, 0, (1 << 40,), (0,))}, [STORAGE]), "larger than its"),
        (checkpoint({"w": tensor(STORAGE, 0, (4,), (1,))}), "cannot read"),
    ],
)
def test_what_is_not_a_checkpoint_of_tensors_is_refused(tmp_path, content, reason):
    with pytest.raises(UserError, match=reason):
        read(tmp_path, content)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pth"):
        torch_weights.load(str(tmp_path / "absent.pth"))
