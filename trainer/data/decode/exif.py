"""Read the orientation in a JPEG's EXIF, in graph.

Sources: JPEG (ITU-T T.81, annex B), EXIF orientation (CIPA DC-008, 4.6.4 A and 4.7.2; TIFF 6.0
section 2).
"""

from __future__ import annotations

import tensorflow as tf

from trainer.data.decode.header_checks import bytes_at, noinline_function, number


def is_plain_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Return whether a table follows a JFIF header of 16 bytes, as in most files without EXIF."""
    table_at = tf.minimum(20, tf.strings.length(encoded))
    is_jfif = tf.equal(tf.strings.substr(encoded, 0, 6), b"\xff\xd8\xff\xe0\x00\x10")
    return is_jfif & tf.equal(tf.strings.substr(encoded, table_at, 2), b"\xff\xdb")


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Return a JPEG's orientation, int32 scalar in 1..8; 1 without valid EXIF."""
    return tf.cond(is_plain_jpeg(encoded), lambda: tf.constant(1), lambda: _search_exif(encoded))


@noinline_function
def _search_exif(encoded: tf.Tensor) -> tf.Tensor:
    def after(at: tf.Tensor) -> tf.Tensor:
        return at + 2 + tf.cast(number(bytes_at(encoded, at + 2, 2), big_endian=True), tf.int32)

    def may_precede_exif(at: tf.Tensor) -> tf.Tensor:
        kind = bytes_at(encoded, at, 2)
        application = (kind[1] >= 0xE0) & (kind[1] <= 0xEF)
        return tf.equal(kind[0], 0xFF) & (application | tf.equal(kind[1], 0xFE))

    def is_exif(at: tf.Tensor) -> tf.Tensor:
        at = tf.minimum(at + 4, tf.strings.length(encoded))
        return tf.equal(tf.strings.substr(encoded, at, 6), b"Exif\0\0")

    (at,) = tf.while_loop(
        lambda at: may_precede_exif(at) & ~is_exif(at), lambda at: (after(at),), (tf.constant(2),)
    )
    return tf.cond(
        may_precede_exif(at),
        lambda: _tiff_orientation(tf.strings.substr(encoded, at + 10, after(at) - at - 10)),
        lambda: tf.constant(1),
    )


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Return the orientation, int32 scalar, in a TIFF structure's first directory, or 1."""
    swapped = tf.equal(tf.strings.substr(tiff, 0, 2), b"MM")

    def read(digits: tf.Tensor) -> tf.Tensor:
        return tf.where(swapped, number(digits, big_endian=True), number(digits))

    directory = read(bytes_at(tiff, 4, 4))
    length = tf.cast(tf.strings.length(tiff), tf.int64)
    start = tf.minimum(directory + 2, length)
    count = tf.minimum(read(bytes_at(tiff, directory, 2)), (length - start) // 12)
    raw = tf.io.decode_raw(tf.strings.substr(tiff, start, 12 * count), tf.uint8)
    entries = tf.cast(tf.reshape(raw, [-1, 12]), tf.int32)
    # 0x0112 is the tag, 3 its type (16 bits); the value is stored inline.
    shorts = tf.where(
        swapped, entries[:, ::2] * 256 + entries[:, 1::2], entries[:, ::2] + entries[:, 1::2] * 256
    )
    wanted = tf.equal(shorts[:, 0], 0x0112) & tf.equal(shorts[:, 1], 3)
    value = tf.reduce_max(tf.where(wanted, shorts[:, 4], 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)
