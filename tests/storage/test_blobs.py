"""Blobs: one suite for both stores, the local disk and S3; that is moto's server, which checks every signature."""

import os
import re
import subprocess
import sys
import tempfile
import time

import boto3
import pytest

from greenroom.runtime import StorageUnavailable
from greenroom.storage.blobs import in_s3, on_disk

BUCKET = "message-attachments"
REGION = "us-east-1"
SIGNED_FROM_CALL = 4  # what comes before makes the user whose signatures are checked


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """(endpoint, access key, secret) of a server that knows one user and one bucket."""
    environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(SIGNED_FROM_CALL)}
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    said = tmp_path_factory.mktemp("moto") / "said"
    with said.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as server:
        try:
            endpoint = endpoint_told_in(said)
            anybody = {"endpoint_url": endpoint, "region_name": REGION}
            anybody |= {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
            iam = boto3.client("iam", **anybody)
            iam.create_user(UserName="greenroom")
            key = iam.create_access_key(UserName="greenroom")["AccessKey"]
            allow = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
            iam.put_user_policy(UserName="greenroom", PolicyName="all", PolicyDocument=allow)
            boto3.client("s3", **anybody).create_bucket(Bucket=BUCKET)
            yield endpoint, key["AccessKeyId"], key["SecretAccessKey"]
        finally:
            server.terminate()


def endpoint_told_in(said, seconds=60):
    """It chooses its port, which nobody else can take then."""
    ends = time.monotonic() + seconds
    while not (told := re.search(r"http://127\.0\.0\.1:\d+", said.read_text())):
        assert time.monotonic() < ends, said.read_text()
        time.sleep(0.1)
    return told[0]


@pytest.fixture(params=["disk", "s3"])
def blobs(request, tmp_path):
    if request.param == "disk":
        return on_disk(tmp_path / "blobs")
    endpoint, access_key, secret_key = request.getfixturevalue("s3")
    return in_s3(BUCKET, endpoint=endpoint, region=REGION, access_key=access_key, secret_key=secret_key)


def file_of(data):
    file = tempfile.TemporaryFile()  # noqa: SIM115 - ended with the test
    file.write(data)
    file.seek(0)
    return file


@pytest.mark.parametrize("size", [1, 100_000, 10_485_760])
async def test_what_was_put_is_there_in_any_part(blobs, size):
    data, key = os.urandom(size), f"messages/7/1-{size:032x}.pdf"
    await blobs.put(key, file_of(data))
    assert await blobs.read(key, 0, size) == data
    assert await blobs.read(key, size // 2, size - size // 2) == data[size // 2 :]


async def test_what_was_deleted_is_not_there_and_to_delete_it_again_is_harmless(blobs):
    key = "messages/7/1-abc.png"
    await blobs.put(key, file_of(b"x" * 10))
    for _ in range(2):
        await blobs.delete(key)
        with pytest.raises(StorageUnavailable):
            await blobs.read(key, 0, 10)
    await blobs.put(key, file_of(b"y" * 10))
    assert await blobs.read(key, 0, 10) == b"y" * 10


async def test_on_disk_nothing_is_left_of_what_is_gone_and_nobody_else_may_look(tmp_path):
    blobs = on_disk(tmp_path / "blobs")
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700
    await blobs.put("messages/7/a.png", file_of(b"x"))
    await blobs.delete("messages/7/a.png")
    assert list((tmp_path / "blobs").iterdir()) == []


async def test_on_disk_a_file_and_the_way_to_it_are_written_through(tmp_path, monkeypatch):
    written, fsync = [], os.fsync

    def watched(descriptor):
        written.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(f"{tmp_path}/"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await on_disk(tmp_path / "blobs").put("messages/7/a.png", file_of(b"x"))
    assert written == ["blobs/messages/7/a.png", "blobs/messages/7", "blobs/messages", "blobs"]


async def test_in_s3_a_wrong_secret_is_a_store_that_is_away(s3):
    endpoint, access_key, secret_key = s3
    blobs = in_s3(BUCKET, endpoint=endpoint, region=REGION, access_key=access_key, secret_key=secret_key[::-1])
    with pytest.raises(StorageUnavailable):
        await blobs.put("messages/7/b.png", file_of(b"x"))
