"""A Box whose replica is in the S3 of fake_s3.py, and the fixtures for it.

Whatever the command says in a test is kept and must not hold a secret when the test ends; so every test
with an s3box is one of that too.
"""
import os
import re
import shutil

import pytest

from box import Box, add_rows
from credential_services import Service
from fake_s3 import ACCESS_KEY, S3, SECRET_KEY
from web import Certificates

STRANGE = re.compile(r"(?i)^(aws|litestream)_|_proxy$")  # must not come in from the tester's shell


class S3Box(Box):
    def __init__(self, path, s3):
        super().__init__(path)
        self.s3 = s3
        self.said, self.runs = [], []
        self.secrets, self.services = {SECRET_KEY}, []
        self.settings = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(path),
        }
        self.replica = self.url()

    def url(self, s3=None, prefix="app", bucket="bucket", **parameters):
        asked = {"endpoint": (s3 or self.s3).url, "region": "us-east-1", "force-path-style": "true", **parameters}
        return f"s3://{bucket}/{prefix}?" + "&".join(f"{k}={v}" for k, v in asked.items() if v is not None)

    def set(self, **settings):
        """Environment variables of the command; None: not there."""
        self.settings.update(settings)

    def without_keys(self, **settings):
        """No credentials but those that the settings lead to."""
        self.set(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, **settings)

    def env(self, runtime=None):
        inherited = {k: v for k, v in super().env(runtime).items() if not STRANGE.search(k)}
        return {k: str(v) for k, v in {**inherited, **self.settings}.items() if v is not None}

    def holdfast(self, *args, code=0, **more):
        done = super().holdfast(*args, code=None, **more)
        self.said += [done.out, done.err]
        said = f"holdfast {' '.join(map(str, args))}\n{done.out}{done.err}"
        assert code is None or done.code == code, f"exit {done.code}, not {code}: {said}"
        return done

    def start(self, *args, **where):
        r = super().start(*args, **where)
        self.runs.append(r)
        return r

    def refused(self, *args, code, patience=5, **where):
        before = dict(self.s3.objects)
        words = self.start(*args, **where).end(code, patience)
        assert self.s3.objects == before
        return words

    def commit(self, app=None, r=None):
        """One more row, and its shipment."""
        app, r = app or self.connection, r or self.r
        so_far = r.mark()
        add_rows(app, 1)
        return r.wait("ship", since=so_far)

    def one(self, *args, **where):
        """A database of ten rows, replicated and stopped: with nothing left to compact."""
        app = self.new_app(10)
        r = self.replicate("-levels", "1h,1h,1h", *args, **where)
        for _ in range(3):
            so_far = r.mark()
            app.execute("INSERT INTO t(v) SELECT hex(randomblob(400)) FROM t LIMIT 8")
            r.wait("ship", since=so_far)
        r.stop()
        app.close()

    def assert_no_leaks(self):
        for service in self.services:
            self.secrets.update(service.secrets())
        said = "\n".join([*self.said, *(str(r) for r in self.runs)])
        for secret in self.secrets:
            assert secret not in said and secret.replace("/", "%2F") not in said
        assert "AWS4-HMAC-SHA256" not in said and not re.search(r"[Ss]ignature=", said)


@pytest.fixture
def s3():
    server = S3()
    yield server
    server.down()


@pytest.fixture
def s3box(tmp_path, s3):
    b = S3Box(tmp_path, s3)
    with b.stack:
        yield b
    b.assert_no_leaks()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def service(s3box):
    """service(Instance, life=...): one of credential_services.py, until the test ends."""

    def start(kind, **options):
        made = kind(s3box.s3, **options)
        s3box.stack.callback(made.down)
        s3box.services.append(made)
        assert isinstance(made, Service)
        return made

    return start


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))
