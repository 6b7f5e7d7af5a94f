"""The test server itself: what the storage tests rely on holds."""

import http.client
import os
import time

import pytest
from google.api_core.exceptions import Forbidden, PreconditionFailed
from google.cloud import storage as gcs_library

from tests.processes.commands import script

CONTENT = b"0123456789" * 1000


@pytest.fixture
def bucket(gcs):
    with gcs_library.Client() as client:
        yield client.bucket("bucket")


def only(number, fault):
    return lambda request: fault if request.number == number else None


def upload(bucket, name="object"):
    bucket.blob(name).upload_from_string(CONTENT, if_generation_match=0)


def test_requests_and_bytes_are_counted(gcs, bucket):
    upload(bucket)
    assert gcs.read("object") == CONTENT  # past the proxy
    assert gcs.proxy.count("POST", matching="uploadType=multipart") == 1
    assert len(CONTENT) < gcs.proxy.bytes_received() < len(CONTENT) + 1000
    assert bucket.blob("object").download_as_bytes() == CONTENT
    assert gcs.proxy.count("GET", matching="alt=media") == 1


@pytest.mark.parametrize("fault", ["429", "500", "503", "reset"])
def test_what_the_server_never_hears_of(gcs, bucket, fault):
    gcs.proxy.plan = lambda request: fault if gcs.proxy.count("POST") == 1 else None
    upload(bucket)  # the library tries again
    assert gcs.proxy.count("POST") == 2
    assert gcs.read("object") == CONTENT


@pytest.mark.parametrize("fault", ["lost", "cut"])
def test_a_lost_answer_is_committed_all_the_same(gcs, bucket, fault):
    gcs.proxy.plan = lambda request: fault if gcs.proxy.count("POST") == 1 else None
    with pytest.raises(PreconditionFailed):
        upload(bucket)
    assert gcs.read("object") == CONTENT


def test_forbidden_for_good(gcs, bucket):
    gcs.proxy.plan = lambda request: "403"
    with pytest.raises(Forbidden):
        upload(bucket)
    assert gcs.names() == []


def test_wrong_checksums(gcs, bucket):
    gcs.proxy.plan = lambda request: "crc"
    blob = bucket.blob("object")
    blob.upload_from_string(CONTENT)
    assert blob.crc32c == "AAAAAQ=="
    connection = http.client.HTTPConnection("127.0.0.1", gcs.proxy.port)
    connection.request("GET", "/download/storage/v1/b/bucket/o/object?alt=media")
    content = connection.getresponse().read()
    connection.close()
    assert sum(a != b for a, b in zip(content, CONTENT, strict=True)) == 1


def test_delays(gcs, bucket):
    gcs.proxy.delay_secs = 0.04
    gcs.proxy.plan = lambda request: "delay:0.2" if request.method == "POST" else None
    began = time.monotonic()
    upload(bucket)
    assert time.monotonic() - began >= 0.24


TENSORFLOW = """
import tensorflow as tf
with tf.io.gfile.GFile("gs://bucket/dir/file", "w") as stream:
    stream.write("x" * 100_000)
print(tf.io.gfile.listdir("gs://bucket/dir"), len(tf.io.read_file("gs://bucket/dir/file").numpy()))
"""


def test_tensorflow_finds_the_server_too(gcs):
    process = script(TENSORFLOW, **gcs.environment)
    assert process.stdout == "['file'] 100000\n", process.stderr
    assert gcs.read("dir/file") == b"x" * 100_000
    schemes = [request.scheme for request in gcs.proxy.requests if "dir" in request.target]
    assert set(schemes) == {"https"}


def test_the_environment_is_set_for_the_time_of_a_test(gcs):
    assert os.environ["STORAGE_EMULATOR_HOST"] == gcs.proxy.url
