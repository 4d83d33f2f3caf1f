"""An application that opens a replica through Litestream's VFS, in a process of its own.

    vfs_client.py EXTENSION IMAGE STATEMENT...

Prints the rows of each statement as JSON, and writes the pages that it is shown then to the file IMAGE ("-":
no; nor if there are more than PAGES_MOST, as each is a request). Everything else is told to the extension by the
LITESTREAM_* variables; with hydration on, it ends only when the whole database has been restored. As in any
SQLite application, statements before a COMMIT are one transaction.
"""
import json
import os
import pathlib
import sqlite3
import sys
import time

PAGES_MOST = 2000

extension, image, statements = sys.argv[1], sys.argv[2], sys.argv[3:]
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(extension)
c = sqlite3.connect("file:replica?vfs=litestream", uri=True, isolation_level=None)
results = [c.execute(s).fetchall() for s in statements]
if os.environ.get("LITESTREAM_HYDRATION_PATH"):
    end = time.monotonic() + 25
    log = pathlib.Path(os.environ["LITESTREAM_LOG_FILE"])
    while "hydration complete" not in log.read_text():  # its progress is above 100 before it has ended
        if time.monotonic() > end or "hydration failed" in log.read_text():
            sys.exit(f"hydration has not ended: {log.read_text()}")
        time.sleep(0.005)
if image != "-" and c.execute("PRAGMA page_count").fetchone()[0] <= PAGES_MOST:
    pathlib.Path(image).write_bytes(c.serialize())
c.close()
print(json.dumps(results))
