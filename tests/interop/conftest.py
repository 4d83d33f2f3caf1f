import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from box import Box  # noqa: E402


@pytest.fixture
def box(tmp_path):
    b = Box(tmp_path)
    with b.stack:
        yield b
    shutil.rmtree(tmp_path, ignore_errors=True)
