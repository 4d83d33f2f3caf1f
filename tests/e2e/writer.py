"""An application: commits rows to DB until it is killed.

    writer.py DB [-rows N] [-bytes N] [-pause S] [-checkpoint MODE -every N]

Each transaction adds N rows to t(id, v). With -checkpoint the application checkpoints by itself after
every N transactions.
"""
import argparse
import os
import sqlite3
import sys
import time

options = argparse.ArgumentParser()
options.add_argument("db")
options.add_argument("-rows", type=int, default=1)
options.add_argument("-bytes", type=int, default=100)
options.add_argument("-pause", type=float, default=0.001)
options.add_argument("-checkpoint")
options.add_argument("-every", type=int, default=20)
o = options.parse_args()

c = sqlite3.connect(o.db, isolation_level=None, timeout=1)
c.execute("PRAGMA synchronous=NORMAL")
if o.checkpoint:
    c.execute("PRAGMA wal_autocheckpoint=0")
n = 0
while True:
    c.execute("BEGIN IMMEDIATE")
    for _ in range(o.rows):
        c.execute("INSERT INTO t(v) VALUES (?)", (os.urandom(o.bytes // 2).hex(),))
    c.execute("COMMIT")
    n += 1
    if n == 1:
        print("writing", flush=True)
    if o.checkpoint and n % o.every == 0:
        c.execute(f"PRAGMA wal_checkpoint({o.checkpoint})").fetchall()
    time.sleep(o.pause)
