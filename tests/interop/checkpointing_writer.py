"""An application on whatever SQLite it was linked with: seeded transactions and every kind of checkpoint.

    checkpointing_writer.py DB SEED

Prints SQLite's version. For each line it reads it does a round of transactions and answers with the
number of rows; at the end of input it writes the database's pages to DB.image.
"""
import random
import sqlite3
import sys

path, seed = sys.argv[1], int(sys.argv[2])
rng = random.Random(seed)
c = sqlite3.connect(path, isolation_level=None, timeout=20)
c.execute("PRAGMA wal_autocheckpoint=20")
c.execute("PRAGMA synchronous=NORMAL")
print(sqlite3.sqlite_version, flush=True)


def transaction():
    c.execute("BEGIN IMMEDIATE")
    for _ in range(rng.randrange(1, 30)):
        kind, n = rng.randrange(4), rng.randrange(1, 2000)
        if kind < 2:
            c.execute("INSERT INTO t(v) VALUES (?)", (rng.randbytes(rng.randrange(1, 1500)).hex(),))
        elif kind == 2:
            c.execute("UPDATE t SET v = v || 'x' WHERE id = ?", (n,))
        else:
            c.execute("DELETE FROM t WHERE id = ?", (n,))
    c.execute("ROLLBACK" if rng.randrange(10) == 0 else "COMMIT")


for _ in sys.stdin:
    for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE"):
        for _ in range(rng.randrange(5, 40)):
            transaction()
        c.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    if rng.randrange(3) == 0:
        c.execute("DELETE FROM t WHERE id % 2 = 0")
        c.execute("VACUUM")
    print(c.execute("SELECT count(*) FROM t").fetchone()[0], flush=True)
with open(path + ".image", "wb") as out:
    out.write(c.serialize())
