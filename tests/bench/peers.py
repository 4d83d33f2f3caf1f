"""Who stands beside a database: nobody, a process that sleeps, us, and Litestream of both its formats.

Each of them has beside(bench, db, place, every_ms) -> bench.Beside, and those that replicate have
restore(db, place, out) -> a command line. `every_ms`: look and ship so often, where it can be said; None: as it
comes. Litestream's programs are those of scripts/fetch-litestream; one that is not here is left out, and named.

The no-op control shows what any process beside costs, and how much two equal runs differ: a difference within
that is none.
"""
from pathlib import Path

import bench

PARTS = bench.ROOT / "build-parts/litestream"

CONFIGURATION_05 = """
dbs:
  - path: {db}
{monitor}    replica: {{url: "{url}"{sync}}}
"""
CONFIGURATION_03 = """
dbs:
  - path: {db}
{monitor}    replicas:
      - {replica}
{sync}"""
BUCKET_03 = """type: s3
        bucket: {0.bucket}
        path: {0.key}
        endpoint: {0.client.endpoint}
        region: {0.client.region}
        force-path-style: true
"""


def is_bucket(place):
    return not isinstance(place, Path)


class Nobody:
    """Stands beside without being there."""

    name, replicates = "nothing", False

    class Nothing:
        def ready(self):
            pass

        def end(self):
            return {}

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def beside(self, b, db, place, every_ms=None):
        return self.Nothing()


class Sleeper:
    name, replicates = "no-op", False

    class Sleeping(bench.Beside):
        def end(self):
            return super().end(128 + bench.signal.SIGTERM)

    def beside(self, b, db, place, every_ms=None):
        return self.Sleeping(b, "sleep", "100000")


class Holdfast:
    name, replicates = "holdfast", True

    class Running(bench.Replicate):
        def ready(self):
            self.wait("ship", 600)

    def beside(self, b, db, place, every_ms=None, options=()):
        return self.Running(b, db, place, *(["-interval", f"{every_ms}ms"] if every_ms else []), *options)

    def objects(self, place):
        """The directory in which a commit appears."""
        return place / ("0000" if is_bucket(place) else "ltx/0")

    def restore(self, b, db, place, out):
        return [b.holdfast, "restore", place, out]


class Litestream:
    """Of one version. It says nothing of its first backup, so the replica is asked."""

    replicates = True

    def __init__(self, version, program):
        self.name, self.program = f"Litestream {version}", PARTS / program

    class Running(bench.Beside):
        def __init__(self, b, system, db, place, configuration):
            self.system, self.place, self.log = system, place, b.unique("log")
            with open(self.log, "w") as log:
                super().__init__(b, system.program, "replicate", "-config", configuration, stdout=log, stderr=log)

        def end(self):
            """0.3.13 ends with 1 where the signal meets a checkpoint of its own."""
            return super().end(0, 1)

        def words(self):
            return self.log.read_text()[-500:]

        def ready(self):
            def has_begun():
                if self.process.poll() is not None:
                    raise bench.Failure(f"{self.system.name} ended by itself: {self.words()}")
                return self.system.has_begun(self.place)

            bench.until(has_begun, f"the first backup of {self.system.name}", 600)

    def configured(self, b, db, place, every_ms):
        path = b.unique("litestream.yml")
        path.write_text(self.configuration(db, place, every_ms))
        return path

    def beside(self, b, db, place, every_ms=None):
        return self.Running(b, self, db, place, self.configured(b, db, place, every_ms))

    def restore(self, b, db, place, out):
        return [self.program, "restore", "-config", self.configured(b, db, place, None), "-o", out, db]


class Litestream05(Litestream):
    def configuration(self, db, place, every_ms):
        url = place if is_bucket(place) else f"file://{place}"
        monitor = f"    monitor-interval: {every_ms}ms\n" if every_ms else ""
        return CONFIGURATION_05.format(db=db, url=url, monitor=monitor,
                                       sync=f", sync-interval: {every_ms}ms" if every_ms else "")

    def objects(self, place):
        return place / ("0000" if is_bucket(place) else "ltx/0")

    def has_begun(self, place):
        return any(True for _ in self.objects(place).glob("*.ltx"))


class Litestream03(Litestream):
    def configuration(self, db, place, every_ms):
        replica = BUCKET_03.format(place) if is_bucket(place) else f"path: {place}\n"
        monitor = f"    monitor-interval: {every_ms}ms\n" if every_ms else ""
        return CONFIGURATION_03.format(db=db, replica=replica.rstrip("\n"), monitor=monitor,
                                       sync=f"        sync-interval: {every_ms}ms\n" if every_ms else "")

    def objects(self, place):
        """There is one generation."""
        return next(place.glob("generations/*/wal/*.lz4")).parent

    def has_begun(self, place):
        """The snapshot is there before the first segment of the log."""
        return any(True for _ in place.glob("generations/*/wal/*.lz4"))


ALL = (Nobody(), Sleeper(), Holdfast(), Litestream05("0.5.17", "litestream"), Litestream03("0.3.13", "litestream-0.3"))


def here(b, replicating=False):
    """Those that can be measured; the others are named."""
    found = [s for s in ALL if not isinstance(s, Litestream) or s.program.exists()]
    if absent := [s.name for s in ALL if s not in found]:
        b.missing(f"{', '.join(absent)}: scripts/fetch-litestream build-parts/litestream")
    return [s for s in found if s.replicates or not replicating]
