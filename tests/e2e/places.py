"""Where replicas are: every test that has a box is made for each place, a directory and, where
scripts/test has started Ceph, a bucket. The exceptions are marked:

    @pytest.mark.file_only("why it is about a directory, or about no replica at all")

Files are where TMPDIR says; by scripts/test that is in memory. What was called safe too early is safe there before anybody
could be killed: a test that looks for this is marked on_disk.
"""
import os
import pathlib
import shutil
import sys
import tempfile
import uuid

import pytest

from box import ROOT, Box

sys.path.insert(0, str(ROOT / "tests/servers"))

import s3  # noqa: E402

NO_REPLICA = pytest.mark.file_only("there is no replica in it")


PLACES = ["file", "s3"] if "HOLDFAST_TEST_S3" in os.environ else ["file"]


def bucket(server="S3"):
    """Of scripts/test, below a prefix of its own."""
    keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_REGION"]
    client = s3.Client(os.environ[f"HOLDFAST_TEST_{server}"], *keys)
    return s3.Path(client, os.environ[f"HOLDFAST_TEST_{server}_BUCKET"], uuid.uuid4().hex[:12])


@pytest.fixture
def tmp_path(request, tmp_path):
    if not request.node.get_closest_marker("on_disk"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-test-", dir="/var/tmp", ignore_cleanup_errors=True) as disk:
        yield pathlib.Path(disk)


@pytest.fixture(params=PLACES)
def box(request, tmp_path):
    b = Box(tmp_path, bucket() if request.param == "s3" else None)
    with b.stack:
        yield b
    shutil.rmtree(tmp_path, ignore_errors=True)


def pytest_configure(config):
    config.addinivalue_line("markers", "file_only(reason): not made for replicas in a bucket")
    config.addinivalue_line("markers", "on_disk: a sync takes as long as on a disk")


def pytest_collection_modifyitems(items):
    def is_made(item):
        place = getattr(item, "callspec", None) and item.callspec.params.get("box")
        return place != "s3" or not item.get_closest_marker("file_only")

    items[:] = filter(is_made, items)
