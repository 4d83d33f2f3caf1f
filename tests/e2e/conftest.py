import shutil

import pytest

from box import Box
from s3box import certificates, s3, s3box, service  # noqa: F401


@pytest.fixture
def box(tmp_path):
    b = Box(tmp_path)
    with b.stack:
        yield b
    shutil.rmtree(tmp_path, ignore_errors=True)
