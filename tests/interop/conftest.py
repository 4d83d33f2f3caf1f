import os
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import matrix  # noqa: E402
import places  # noqa: E402
from places import box, pytest_configure  # noqa: E402, F401


@pytest.fixture
def cell(box, record_property):  # noqa: F811
    """cell(program, way, count): so many states were compared, here (matrix.py)."""
    return matrix.recorder(record_property, "file" if isinstance(box.replica, pathlib.Path) else "s3")


def pytest_runtest_setup():
    """run.py --seconds: what has not begun by then does not."""
    if time.time() > float(os.environ.get("HOLDFAST_INTEROP_UNTIL", "inf")):
        pytest.skip("no time is left")


def pytest_collection_modifyitems(items):
    """run.py --count: so many at most."""
    places.pytest_collection_modifyitems(items)
    del items[int(os.environ.get("HOLDFAST_INTEROP_COUNT", 0)) or len(items):]
