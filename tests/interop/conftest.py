import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from places import box, pytest_collection_modifyitems, pytest_configure  # noqa: E402, F401
