import pytest

from trainer.data.decode.image_files import is_image


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True),
        ("a.JPEG", True),
        ("dir/größe 1.Png", True),
        ("a.gif", True),
        ("a.bmp", True),
        ("a.webp", True),
        ("a.b.jpg", True),
        (".dir/a.jpg", True),
        ("._a.jpg", False),
        (".jpg", False),
        ("dir/.a.png", False),
        ("a.tiff", False),
        ("a.jpg.txt", False),
        ("jpg", False),
        ("", False),
    ],
)
def test_is_image(name, expected):
    assert is_image(name) == expected
