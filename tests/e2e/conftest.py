import shutil

import pytest

from box import Box


@pytest.fixture
def box(tmp_path):
    b = Box(tmp_path)
    with b.stack:
        yield b
    shutil.rmtree(tmp_path, ignore_errors=True)
