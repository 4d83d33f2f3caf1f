"""An application that opens a replica through Litestream's VFS, in a process of its own.

    vfs_client.py EXTENSION STATEMENT...

Prints the rows of each statement as JSON. Everything else is told to the extension by the LITESTREAM_*
variables; with hydration on, it ends only when the whole database has been restored. As in any SQLite
application, statements before a COMMIT are one transaction.
"""
import json
import os
import pathlib
import sqlite3
import sys
import time

extension, statements = sys.argv[1], sys.argv[2:]
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
c.close()
print(json.dumps(results))
