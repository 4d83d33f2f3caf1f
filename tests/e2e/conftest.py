import signal

from places import box, pytest_collection_modifyitems, pytest_configure, tmp_path  # noqa: F401
from s3box import certificates, s3, s3box, service  # noqa: F401

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup(1) every child would ignore it
