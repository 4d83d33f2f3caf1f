"""OpenStack Swift, the other real server: a bucket without conditional writes."""
import os
import shutil

import pytest

from box import Box, add_rows, assert_same
from places import bucket

pytestmark = pytest.mark.skipif("HOLDFAST_TEST_SWIFT" not in os.environ, reason="no Swift: see scripts/setup s3")


@pytest.fixture
def swift(tmp_path):
    b = Box(tmp_path, bucket("SWIFT"))
    with b.stack:
        yield b
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_store_without_conditional_writes_is_refused(swift):
    swift.new_app()
    words = swift.refused(code=10)
    assert swift.replica.shown in words and "-unfenced" in words
    assert not swift.replica.exists()


def test_unfenced_replica_is_restored_and_goes_on(swift):
    app = swift.new_app()
    r = swift.replicate("-unfenced")
    add_rows(app, 5)
    swift.wait_safe()
    r.wait("compact", level=9)
    r.stop()
    r = swift.replicate("-unfenced")
    app.execute("INSERT INTO t(v) VALUES (hex(randomblob(3000000)))")
    swift.wait_safe()
    r.stop()
    assert_same(swift.db, swift.restore())
    swift.holdfast("verify", "-source", swift.db, swift.replica)
