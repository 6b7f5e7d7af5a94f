"""Pictures, encoded by Pillow in every format that is read."""

import io

import numpy as np
from PIL import Image, ImageOps

HEIGHT, WIDTH = 48, 80


def picture(height=HEIGHT, width=WIDTH):
    """Smooth, different in each corner and channel: no turn or swap goes unseen."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = np.stack([x, y, (np.sin(5 * x) * np.cos(4 * y) + 1) / 2], -1)
    return Image.fromarray((255 * waves).astype(np.uint8))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(width, height):
    """A PNG whose header announces so many pixels; the data are those of another."""
    content = bytearray(encoded(picture(), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(content)


def as_pillow(data):
    """Pillow's pixels: upright, composited on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "CMYK":
        return np.asarray(image.convert("RGB"), np.float32)
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"), np.float32)


def with_alpha(mode="RGBA"):
    image = picture().convert(mode)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image.putalpha(Image.fromarray(((3 * x + 2 * y) % 256).astype(np.uint8)))
    return image


def transparent_palette(kind):
    image = picture().quantize(16)
    return encoded(image, kind, transparency=3)


def paletted_frames(frames, **options):
    first, *others = (picture().rotate(9 * i).quantize(32) for i in range(frames))
    return encoded(first, "GIF", save_all=True, append_images=others, **options)


FILES = {
    "jpeg": (lambda: encoded(picture(), "JPEG", quality=92), 1),
    "jpeg progressive": (lambda: encoded(picture(), "JPEG", progressive=True), 1),
    "jpeg gray": (lambda: encoded(picture().convert("L"), "JPEG"), 1),
    "jpeg cmyk": (lambda: encoded(picture().convert("CMYK"), "JPEG", quality=95), 3),
    "png": (lambda: encoded(picture(), "PNG"), 0),
    "png gray": (lambda: encoded(picture().convert("L"), "PNG"), 0),
    "png bilevel": (lambda: encoded(picture().convert("1"), "PNG"), 0),
    "png alpha": (lambda: encoded(with_alpha(), "PNG"), 1),
    "png gray alpha": (lambda: encoded(with_alpha("L"), "PNG"), 1),
    "png palette": (lambda: encoded(picture().quantize(200), "PNG"), 0),
    "png palette of 4": (lambda: encoded(picture().quantize(4), "PNG"), 0),
    "png palette transparent": (lambda: transparent_palette("PNG"), 0),
    "png gray transparent": (
        lambda: encoded(picture().convert("L"), "PNG", transparency=100),
        0,
    ),
    "gif": (lambda: encoded(picture().quantize(256), "GIF"), 0),
    "gif gray": (lambda: encoded(picture().convert("L"), "GIF"), 0),
    "gif interlaced": (lambda: encoded(picture().quantize(64), "GIF", interlace=1), 0),
    "gif transparent": (lambda: transparent_palette("GIF"), 0),
    "gif of 20 frames": (lambda: paletted_frames(20), 0),
    "bmp": (lambda: encoded(picture(), "BMP"), 0),
    "bmp gray": (lambda: encoded(picture().convert("L"), "BMP"), 0),
    "bmp palette": (lambda: encoded(picture().quantize(256), "BMP"), 0),
    "bmp alpha": (lambda: encoded(with_alpha(), "BMP"), 1),
    "webp": (lambda: encoded(picture(), "WEBP"), 1),
    "webp lossless": (lambda: encoded(picture(), "WEBP", lossless=True), 0),
    "webp alpha": (lambda: encoded(with_alpha(), "WEBP", lossless=True, exact=True), 1),
    "webp lossy alpha": (lambda: encoded(with_alpha(), "WEBP", quality=90), 2),
    "webp animated": (
        lambda: encoded(
            picture(),
            "WEBP",
            save_all=True,
            append_images=[picture().rotate(i) for i in range(1, 6)],
        ),
        1,
    ),
}
