#!/usr/bin/python3 -B
"""memory: the most that each needs, on a large database and on one large transaction.

A database is replicated; then one transaction writes half as much more. `holdfast` then also compacts it to level 2,
restores and verifies. Peak resident memory: VmHWM of /proc after each step, getrusage at the end of each program.
"""
import bench
import peers

LIMIT = 64


def replicate(b, db, replica, large_mb):
    """[(step, kB)]"""
    peaks = []
    with bench.Replicate(b, db, replica, "-levels", "5s,10s,1h") as r:
        r.wait("ship", 200)
        peaks.append(("replicate: the first backup", r.peak_kb()))
        before = len(r.events)
        wrote = b.write("large", db, large_mb, b.args.seed + 1)[-1]
        frames = int(wrote["wal_bytes"]) // 4120
        shipped = r.wait("ship", 200, since=before, pages=lambda n: int(n) >= frames * 3 // 4)
        peaks.append((f"replicate: a transaction of {frames * 4096 / bench.MB:.0f} MB", r.peak_kb()))
        r.wait("compact", 200, since=before, level=lambda n: n == "2",
               txid=lambda n: int(n) >= int(shipped["txid"]))
        peaks.append(("replicate: its compaction to levels 1, 2", r.peak_kb()))
        use = r.end()
    peaks.append(("replicate: to its end", max(use["peak_kb"], peaks[-1][1])))
    print(f"  replicate used {use['user'] + use['system']:.1f} s CPU; "
          f"largest log {use['wal_frames_max'] * 4120 / bench.MB:.0f} MB")
    return peaks


def of_a_peer(b, system, source, large_mb):
    place = b.place / "peer"
    place.mkdir()
    db = place / "app.db"
    b.measure("cp", source, db)
    with system.beside(b, db, place / "replica") as beside:
        beside.ready()
        b.write("large", db, large_mb, b.args.seed + 1)
        peak = beside.end()["peak_kb"]
    bench.shutil.rmtree(place)
    return peak


def measure(b):
    mb, large_mb = (40, 20) if b.args.quick else (b.args.mb, b.args.transaction)
    bench.needs(b.args.dir, 5 * mb + 5 * large_mb)
    db, replica, out = b.place / "app.db", b.place / "replica", b.place / "out.db"
    b.write("fill", db, mb, b.args.seed)
    print(f"  {db.stat().st_size / bench.MB:.0f} MB database")
    others = [system for system in peers.here(b, replicating=True) if system.name != "holdfast"]
    runs = {system.name: [{"mb": of_a_peer(b, system, db, large_mb) / 1e3}] for system in others}
    peaks = replicate(b, db, replica, large_mb)
    runs = {"holdfast": [{"mb": peaks[-1][1] / 1e3}]} | runs
    for name, *command in (("restore", "restore", replica, out),
                           ("restore -parallel 16", "restore", "-parallel", 16, replica, out),
                           ("verify", "verify", replica), ("verify -source", "verify", "-source", db, replica)):  # fmt: skip
        use = b.measure(b.holdfast, *command)
        peaks.append((f"{name} ({use['seconds']:.1f} s)", use["peak_kb"]))
        out.unlink(missing_ok=True)
    b.head("", runs)
    b.row(f"peak memory, database of {mb} MB, transaction of {large_mb}", "MB", runs, "mb", chart=True)
    for name, kb in peaks:
        b.verdict(f"memory, {mb} MB, {name}", kb * 1024 / bench.MB, LIMIT, unit=" MB")


bench.main(__doc__, measure, mb=(300, "size of the database"), transaction=(150, "size of the transaction, MB"))
