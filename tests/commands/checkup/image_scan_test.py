"""Every image is looked at once, and the training's decoder says what is broken."""

import io

from PIL import Image

from tests.inputs import tiny
from tests.inputs.pictures import encoded, picture
from trainer.commands.checkup import image_scan
from trainer.data.sources import folder_source, tfds_open


def test_records_are_looked_at_like_files(beans_data_dir):
    source = tfds_open.open_prepared(str(beans_data_dir / "beans" / "0.1.0"), 64)
    told: list[int] = []
    looks = image_scan.scan(source, "train", told.append)
    assert len(looks) == told[-1] == 30
    assert {(look.width, look.height, look.problem, look.path) for look in looks} == {
        (24, 24, "", "")
    }
    assert [look.label for look in looks] == [
        source.example("train", path).label for path in range(30)
    ]
    assert [look.id for look in looks] == [source.example("train", path).id for path in range(30)]


def test_of_many_files_each_is_looked_at_once(tmp_path):
    tiny.write_images(tmp_path / "train", {"a": 150, "b": 90}, size=8)
    source = folder_source.open_folder(str(tmp_path))
    looks = image_scan.scan(source, "train", lambda done: None)
    assert [look.id for look in looks] == list(source.listing("train").ids)
    assert len({look.digest for look in looks}) == 240


def test_pillow_is_not_the_judge(tmp_path):
    """An odd file that training can decode is fine: a JPEG with bytes behind its end."""
    good = encoded(picture(), "JPEG")
    tiny.write_files(
        tmp_path, {"train/a/trailing.jpg": good + b"\0" * 50, "train/b/whole.jpg": good}
    )
    source = folder_source.open_folder(str(tmp_path))
    looks = {look.id: look for look in image_scan.scan(source, "train", lambda done: None)}
    assert looks["train/a/trailing.jpg"].problem == ""
    assert looks["train/a/trailing.jpg"].width == Image.open(io.BytesIO(good)).width


def test_of_each_format_the_header_is_read_and_nothing_decoded(tmp_path, monkeypatch):
    files = {
        f"train/{'a' if i % 2 else 'b'}/{kind}.{kind}": encoded(picture(), kind.upper())
        for i, kind in enumerate(("jpeg", "png", "gif", "bmp", "webp"))
    }
    source = folder_source.open_folder(str(tiny.write_files(tmp_path, files)))
    monkeypatch.delattr(image_scan, "decode_and_resize")
    looks = image_scan.scan(source, "train", lambda done: None)
    assert [(look.width, look.height, look.problem) for look in looks] == [(80, 48, "")] * 5
