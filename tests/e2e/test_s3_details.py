"""What S3 servers do that is easily overlooked, and what must come of it."""
import pytest

from box import assert_same


@pytest.mark.parametrize("prefix", ["my%20app", "a%2Bb", "100%25", "%C3%A4", "a%27b%28c%29*"])
def test_a_prefix_that_is_escaped(s3box, prefix):
    """Amazon lists a blank as a plus."""
    s3box.replica = s3box.url(prefix=prefix)
    s3box.one()
    assert_same(s3box.db, s3box.restore())
