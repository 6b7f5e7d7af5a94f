"""The embedded data set `leaves`: drawn on this machine, prepared in the format of TFDS.

It replaces TFDS `beans` where there is no network, with its sizes, splits, classes and features, as
a prepared directory of TFRecord files with JPEGs. All images are synthetic: no result on them is a
result on plants.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import trainer
from trainer.data.leaves import drawing
from trainer.process import machine
from trainer.storage import artifacts

VERSION = "1.0.0"

_DESCRIPTION = """\
Synthetic: leaves drawn by a program, in three classes named after those of `beans`. The classes
differ in the form of the lesions (patches with straight edges, small raised discs, none) and not
in color. Use it to try a training pipeline; it says nothing about plants."""


def prepare(cache_dir: str, progress: Callable[[int, int], None] | None = None) -> str:
    """Return the prepared data set's directory; draw it at the first call.

    A kill leaves no complete directory, and of several processes that call this at once one draws
    while the other processes wait.

    Args:
        cache_dir: a local directory, created if needed; takes about 65 MB.
        progress: called with (done, total) examples while they are drawn, from this thread.

    Returns:
        The directory `<cache_dir>/leaves/1.0.0`, as `tfds.builder_from_directory` reads it.

    Raises:
        UserError: the directory cannot be written to.
    """

    def write(directory: str) -> None:
        with _drawings() as drawings:  # in the background, and TensorFlow is imported meanwhile
            _write(directory, drawings, progress)

    return artifacts.get_or_create(cache_dir, os.path.join("leaves", VERSION), write, waits=True)[0]


def _write(
    directory: str,
    drawings: Iterator[tuple[bytes, int]],
    progress: Callable[[int, int], None] | None,
) -> None:
    import tensorflow_datasets as tfds

    total, done, stdout = sum(drawing.SPLIT_SIZES.values()), 0, sys.stdout
    names = list(drawing.CLASS_NAMES)

    class Leaves(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """Synthetic leaves in three classes."""

        name = "leaves"
        VERSION = tfds.core.Version(VERSION)

        def _info(self) -> tfds.core.DatasetInfo:
            size = drawing.IMAGE_SIZE
            return tfds.core.DatasetInfo(
                builder=self,
                description=_DESCRIPTION,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
                        "label": tfds.features.ClassLabel(names=names),
                    }
                ),
                supervised_keys=("image", "label"),
                # In the order of their index: the classes alternate.
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
            return {split: self._generate_examples(split) for split in drawing.SPLIT_SIZES}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, Any]]:
            nonlocal done
            for index, (jpeg, label) in enumerate(
                itertools.islice(drawings, drawing.SPLIT_SIZES[split])
            ):
                # A file object is stored unchanged; an array would be encoded again.
                yield index, {"image": io.BytesIO(jpeg), "label": label}
                done += 1
                if progress:
                    with contextlib.redirect_stdout(stdout):
                        progress(done, total)

    os.rmdir(directory)  # or TFDS would treat it as the prepared data set
    builder = Leaves(data_dir=directory.removesuffix(os.path.join("leaves", VERSION)))
    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=1)
    shown = tfds.core.utils.tqdm_utils._active
    tfds.display_progress_bar(False)
    try:
        # TFDS prints in spite of all switches, and needs a directory for downloads without any.
        with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(None):
            builder.download_and_prepare(download_dir=downloads, download_config=config)
    finally:
        tfds.display_progress_bar(shown)


@contextlib.contextmanager
def _drawings() -> Generator[Iterator[tuple[bytes, int]], None, None]:
    """Yield JPEG bytes and labels of all splits in order, drawn by a process for each core.

    The processes are plain children with pipes, not a pool of `multiprocessing`: that imports
    the main module again, here TensorFlow with it, and its children outlive a parent that is
    killed. These end when the pipe does.
    """
    jobs = [(split, k) for split, size in drawing.SPLIT_SIZES.items() for k in range(size)]
    workers: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def draw(job: tuple[str, int]) -> tuple[bytes, int]:
        worker = workers.get()
        try:
            return _ask(worker, *job)
        finally:
            workers.put(worker)

    with contextlib.ExitStack() as stack:
        num_workers = min(machine.num_cores(), 16)
        for _ in range(num_workers):
            workers.put(stack.enter_context(_worker()))
        threads = stack.enter_context(ThreadPoolExecutor(num_workers))
        stack.callback(threads.shutdown, cancel_futures=True)
        yield threads.map(draw, jobs)


def _worker() -> subprocess.Popen[bytes]:
    root = os.path.dirname(os.path.dirname(os.path.abspath(trainer.__file__)))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        # A drawing takes and frees hundreds of planes. Left alone, glibc hands each back to the
        # system, and page faults take as long as the drawing.
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
    }
    return subprocess.Popen(
        [sys.executable, "-m", drawing.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _ask(worker: subprocess.Popen[bytes], split: str, index: int) -> tuple[bytes, int]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        # Unbuffered: a line for a dead process would stay in the buffer and fail again.
        os.write(worker.stdin.fileno(), f"{split} {index}\n".encode())
    header = worker.stdout.read(drawing.HEADER.size)
    if len(header) == drawing.HEADER.size:
        label, num_bytes = drawing.HEADER.unpack(header)
        jpeg = worker.stdout.read(num_bytes)
        if len(jpeg) == num_bytes:
            return jpeg, label
    raise RuntimeError(f"a process that draws leaves ended with status {worker.wait()}")
