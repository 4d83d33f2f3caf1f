"""Where credentials come from: each place, their order, and their renewal while a database is
replicated. S3 takes none but the keys that it knows (fake_s3.py), so a request that gets through was
signed with the right ones."""
import os
import re

import pytest

import web
from box import add_rows, assert_same
from credential_services import ROLE, Container, Instance, TokenService
from fake_s3 import ACCESS_KEY, SECRET_KEY, refuse

SLOW_LEVELS = ["-levels", "1h,1h,1h"]
TOKEN = "canary//session++token=="


def works(box):
    """Replicate and restore; no request was refused."""
    box.one()
    assert_same(box.db, box.restore())
    assert all(r.status < 400 or r.status in (404, 412) for r in box.s3.requests), [*map(str, box.s3.requests)]


def keys_file(box, text, name="credentials"):
    path = box.path / ".aws" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.chmod(path, 0o600)
    return path


def profile(name="default", access=ACCESS_KEY, secret=SECRET_KEY, token=None):
    words = f"[{name}]\naws_access_key_id = {access}\naws_secret_access_key={secret}\n"
    return words + (f"aws_session_token = {token}\n" if token else "")


# ---- environment ----


def test_environment(s3box):
    works(s3box)


def test_environment_with_a_session_token(s3box):
    s3box.secrets.add(TOKEN)
    s3box.s3.keys = {ACCESS_KEY: (SECRET_KEY, TOKEN)}
    s3box.set(AWS_SESSION_TOKEN=TOKEN)
    works(s3box)


def test_environment_of_litestream(s3box):
    s3box.without_keys(LITESTREAM_ACCESS_KEY_ID=ACCESS_KEY, LITESTREAM_SECRET_ACCESS_KEY=SECRET_KEY)
    works(s3box)


def test_environment_goes_before_all(s3box, service):
    keys_file(s3box, profile(access="AKIAWRONG"))
    instance, container = service(Instance), service(Container)
    s3box.set(
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{container.url}/v2/credentials/x",
        AWS_EC2_METADATA_DISABLED=None,
        AWS_EC2_METADATA_SERVICE_ENDPOINT=instance.url,
    )
    works(s3box)
    assert instance.connections == container.connections == 0


# ---- files ----


@pytest.mark.parametrize("name,text", [("credentials", profile()), ("config", profile())])
def test_default_profile(s3box, name, text):
    s3box.without_keys()
    keys_file(s3box, text, name)
    works(s3box)


def test_file_with_a_session_token(s3box):
    s3box.secrets.add(TOKEN)
    s3box.s3.keys = {ACCESS_KEY: (SECRET_KEY, TOKEN)}
    s3box.without_keys()
    keys_file(s3box, profile(token=TOKEN))
    works(s3box)


def test_file_as_people_write_it(s3box):
    """Comments, blanks, other sections, CRLF, capitals in names, no line end at the end."""
    s3box.without_keys()
    words = "# mine\r\n; too\r\n\r\n[other]\r\naws_access_key_id=AKIAOTHER\r\naws_secret_access_key=x\r\n"
    words += f"[ default ]\r\n  region = us-east-1\r\nAWS_ACCESS_KEY_ID\t=\t{ACCESS_KEY}  \r\n"
    words += f"s3 =\r\n  max_concurrent_requests = 20\r\naws_secret_access_key = {SECRET_KEY}"
    keys_file(s3box, words)
    works(s3box)


@pytest.mark.parametrize("how", ["AWS_PROFILE", "parameter"])
def test_named_profile(s3box, how):
    """In ~/.aws/credentials by its name, in ~/.aws/config as [profile NAME]."""
    s3box.without_keys()
    keys_file(s3box, profile(access="AKIAWRONG") + profile("backup"))
    if how == "AWS_PROFILE":
        s3box.set(AWS_PROFILE="backup")
    else:
        s3box.replica = s3box.url(profile="backup")
    works(s3box)


def test_profile_of_the_config_file(s3box):
    s3box.without_keys(AWS_PROFILE="backup")
    keys_file(s3box, profile("profile backup") + "region = eu-central-1\n", "config")
    s3box.s3.region = "eu-central-1"
    s3box.replica = s3box.url(region=None)
    works(s3box)


def test_files_elsewhere(s3box):
    path = keys_file(s3box, profile()).rename(s3box.path / "keys")
    s3box.without_keys(AWS_SHARED_CREDENTIALS_FILE=path, AWS_CONFIG_FILE=s3box.path / "none")
    works(s3box)


def test_named_profile_goes_before_the_environment(s3box):
    keys_file(s3box, profile("backup"))
    s3box.set(AWS_ACCESS_KEY_ID="AKIAWRONG")
    s3box.replica = s3box.url(profile="backup")
    works(s3box)


BAD_FILES = {
    "no such profile": (profile("other"), "backup"),
    "no secret": (f"[backup]\naws_access_key_id={ACCESS_KEY}\n", "secret key"),
    "empty": ("", "backup"),
    "binary": ("\0\1\2[backup\n\xff" * 100, "backup"),
    "a line without end": ("[backup]\naws_access_key_id=" + "k" * 1000000, "long|backup|aws_access_key_id"),
    "another way": ("[backup]\ncredential_process = /bin/echo x\n", "credential_process|backup"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_file_that_is_bad(s3box, kind):
    text, words = BAD_FILES[kind]
    s3box.without_keys(AWS_PROFILE="backup")
    keys_file(s3box, text)
    said = s3box.holdfast("list", s3box.replica, code=None).err
    assert re.search(words, said), said
    assert s3box.s3.requests == []


def test_file_that_may_not_be_read(s3box):
    s3box.without_keys()
    s3box.for_nobody()
    keys_file(s3box, profile())
    os.chmod(s3box.path / ".aws", 0o755)
    said = s3box.holdfast("list", s3box.replica, code=1, user=65534).err
    assert str(s3box.path / ".aws/credentials") in said and "ermission" in said


def test_file_that_is_changed_while_it_runs(s3box):
    """The old key is revoked, the new one written: no restart, nothing lost."""
    s3box.without_keys()
    keys_file(s3box, profile())
    app = s3box.new_app(10)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.commit(app)
    s3box.s3.keys = {"AKIACANARYSECOND": ("canary-second-secret", "")}
    s3box.secrets.add("canary-second-secret")
    keys_file(s3box, profile(access="AKIACANARYSECOND", secret="canary-second-secret"))
    s3box.commit(app)
    assert not s3box.r.events("ship.retry")
    s3box.r.stop()
    assert_same(s3box.db, s3box.restore())


# ---- services ----


def instance_of(box, service, **options):
    s = service(Instance, **options)
    box.without_keys(AWS_EC2_METADATA_DISABLED=None, AWS_EC2_METADATA_SERVICE_ENDPOINT=s.url)
    return s


def container_of(box, service, **options):
    s = service(Container, **options)
    box.without_keys(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{s.url}/v2/credentials/x")
    return s


def identity_of(box, service, **options):
    s = service(TokenService, **options)
    path = box.path / "identity"
    path.write_text(s.identity + "\n")
    box.without_keys(
        AWS_WEB_IDENTITY_TOKEN_FILE=path,
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/backup",
        AWS_ENDPOINT_URL_STS=s.url,
    )
    return s


SERVICES = {"instance": instance_of, "container": container_of, "web identity": identity_of}


@pytest.mark.parametrize("kind", SERVICES)
def test_service(s3box, service, kind):
    s = SERVICES[kind](s3box, service)
    works(s3box)
    assert len(s.given) == 2  # one process each


@pytest.mark.parametrize("kind", SERVICES)
def test_service_is_asked_again_when_s3_says_expired(s3box, service, kind):
    s = SERVICES[kind](s3box, service)
    app = s3box.new_app(10)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.commit(app)
    s3box.s3.expired |= {key[0] for key in s.given}
    s3box.commit(app)
    assert not s3box.r.events("ship.retry")
    s3box.r.stop()
    assert_same(s3box.db, s3box.restore())


@pytest.mark.parametrize("kind", ["instance"])
def test_service_that_is_away_when_they_should_be_renewed(s3box, service, kind):
    """What is still valid is used; when it no longer is, commits wait, and are shipped in the end."""
    s = SERVICES[kind](s3box, service)
    app = s3box.new_app(10)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.commit(app)
    with s.outage():
        s3box.commit(app)
        s3box.s3.expired |= {key[0] for key in s.given}
        so_far = s3box.r.mark()
        add_rows(app, 1)
        s3box.r.wait("ship.retry", since=so_far)
    s3box.r.wait("ship", since=so_far, patience=30)
    s3box.r.stop()
    assert_same(s3box.db, s3box.restore())


def test_many_requests_ask_once(s3box, service):
    """A restore's threads share what one of them fetched."""
    s = instance_of(s3box, service)
    s3box.one()
    so_far = len(s.given)
    s3box.restore("-parallel", 16)
    assert len(s.given) == so_far + 1


BAD_ANSWERS = {
    "500": web.Reply(500),
    "404": web.Reply(404),
    "empty": web.Reply(200, b""),
    "HTML": web.Reply(200, b"<html>hello</html>"),
    "cut": web.Reply(200, b'{"AccessKeyId": "AKIACANARY'),
    "no secret": web.Reply(200, b'{"AccessKeyId": "AKIACANARY", "Token": "x", "Expiration": "2099-01-01T00:00:00Z"}'),
    "wrong types": web.Reply(200, b'{"AccessKeyId": 1, "SecretAccessKey": [], "Token": {}, "Expiration": 5}'),
    "bad date": web.Reply(
        200, b'{"AccessKeyId": "a", "SecretAccessKey": "canary-in-json", "Token": "x", "Expiration": "soon"}'
    ),
    "line break": web.Reply(
        200, b'{"AccessKeyId": "a\\r\\nX-Evil: 1", "SecretAccessKey": "canary-in-json", "Token": "x\\r\\nX-Evil: 1"}'
    ),
    "huge": web.Reply(200, b'{"AccessKeyId": "' + b"A" * 3000000 + b'"}'),
    "deep": web.Reply(200, b"[" * 100000),
}


@pytest.mark.parametrize("kind", SERVICES)
@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_service_that_answers_badly(s3box, service, kind, answer):
    s3box.secrets.add("canary-in-json")
    s = SERVICES[kind](s3box, service)
    s.fault(lambda request, apply: BAD_ANSWERS[answer] if request.kind != "token" else apply())
    done = s3box.holdfast("list", s3box.replica, code=None)
    assert done.code in (1, 8) and re.search("credential|metadata|STS|identity|container", done.err, re.I), done.err
    assert s3box.s3.requests == []


def test_instance_without_a_session(s3box, service):
    """Only IMDSv2: a service that answers no PUT is not asked the old way."""
    s = instance_of(s3box, service)
    s.fault(lambda request, apply: web.Reply(404), kind="token")
    s3box.holdfast("list", s3box.replica, code=1)
    assert s.asked("ask") == []


def test_instance_that_never_answers(s3box, service):
    """A second each time, not half a minute."""
    import threading
    import time

    over = threading.Event()
    s = instance_of(s3box, service)
    s.fault(web.silent(over))
    start = time.monotonic()
    done = s3box.holdfast("list", s3box.replica, code=None)
    over.set()
    assert done.code in (1, 8) and time.monotonic() - start < 6


def test_instance_disabled(s3box, service):
    s = instance_of(s3box, service)
    s3box.set(AWS_EC2_METADATA_DISABLED="TRUE")
    s3box.holdfast("list", s3box.replica, code=1)
    assert s.connections == 0


def test_metadata_goes_around_the_proxy(s3box, service):
    """Credentials of a machine are not sent through whatever $http_proxy names."""

    class Proxy(web.Server):
        def reply_to(self, request):
            return web.Reply(403)

    proxy = Proxy()
    s3box.stack.callback(proxy.down)
    for start in (instance_of, container_of):
        s = start(s3box, service)
        s3box.set(http_proxy=proxy.url)
        so_far = proxy.mark()
        s3box.holdfast("list", s3box.replica, code=1)
        assert s.given and all("bucket" in r.target for r in proxy.asked(since=so_far))


@pytest.mark.parametrize("how", ["AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
def test_container_that_asks_for_a_token(s3box, service, how):
    s = container_of(s3box, service)
    s.authorization = "Bearer canary-of-the-container"
    s3box.secrets.add(s.authorization)
    given = s.authorization
    if how.endswith("FILE"):
        given = s3box.path / "token"
        given.write_text(s.authorization)
    s3box.set(**{how: given})
    works(s3box)


@pytest.mark.parametrize("url", ["http://198.51.100.7/x", "http://evil.example/x", "ftp://127.0.0.1/x", "nonsense"])
def test_container_elsewhere(s3box, url):
    """Plain http only to this machine or a container's agent."""
    s3box.without_keys(AWS_CONTAINER_CREDENTIALS_FULL_URI=url)
    said = s3box.holdfast("list", s3box.replica, code=2).err
    assert "AWS_CONTAINER_CREDENTIALS_..._URI" in said


def test_identity_is_read_again(s3box, service):
    """The cluster replaces the token's file; the next renewal uses what is in it then."""
    s = identity_of(s3box, service)
    app = s3box.new_app(10)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.commit(app)
    s3box.secrets.add(s.identity)
    s.identity = "canary.second.identity"
    (s3box.path / "identity").write_text(s.identity)
    s3box.s3.expired |= {key[0] for key in s.given}
    so_far = len(s.given)
    s3box.commit(app)
    assert len(s.given) == so_far + 1
    s3box.r.stop()


def test_identity_that_is_refused(s3box, service):
    s = identity_of(s3box, service)
    (s3box.path / "identity").write_text("canary.wrong.identity")
    s3box.secrets.add("canary.wrong.identity")
    said = s3box.holdfast("list", s3box.replica, code=1).err
    assert "InvalidIdentityToken" in said
    assert s.given == []


def test_order(s3box, service):
    """Web identity, then a profile, then the container, then the instance."""
    started = [identity_of(s3box, service)]
    instance, container = service(Instance), service(Container)
    s3box.set(
        AWS_EC2_METADATA_DISABLED=None,
        AWS_EC2_METADATA_SERVICE_ENDPOINT=instance.url,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{container.url}/v2/credentials/x",
    )
    path = keys_file(s3box, profile())

    def used():
        so_far = s3box.s3.mark()
        s3box.holdfast("list", s3box.replica, code=3)
        return s3box.s3.asked(since=so_far)[-1].headers["authorization"].split("Credential=")[1].split("/")[0]

    assert used() == started[0].given[-1][0]
    s3box.set(AWS_WEB_IDENTITY_TOKEN_FILE=None, AWS_ROLE_ARN=None)
    assert used() == ACCESS_KEY
    path.unlink()
    assert used() == container.given[-1][0] and instance.connections == 0
    s3box.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=None)
    assert used() == instance.given[-1][0]


# ---- secrets ----


def test_no_secret_in_sight(s3box):
    """Of a process that replicates: its arguments and what it starts. (What each says, every test of an
    s3box looks at.)"""
    app = s3box.new_app(10)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.commit(app)
    for name in ("cmdline", "comm"):
        assert SECRET_KEY.encode() not in open(f"/proc/{s3box.r.pid}/{name}", "rb").read()
    s3box.s3.fault(refuse(403, "SignatureDoesNotMatch"), kind="put")
    so_far = s3box.r.mark()
    add_rows(app, 1)
    s3box.r.wait("ship.retry", since=so_far)
    s3box.s3.mend()
    s3box.r.wait("ship", since=so_far)
    s3box.r.stop()


def test_application_gets_no_secret(s3box):
    """Neither by inheritance nor by a descriptor; what else was in the environment it has."""
    s3box.new_app(10).close()
    seen = s3box.path / "seen"
    s3box.set(AWS_SESSION_TOKEN=None, MINE="kept")
    r = s3box.start(*SLOW_LEVELS, "-exec", f"cat /proc/self/environ /proc/$$/environ >{seen}; ls /proc/self/fd >>{seen}")
    r.end(0)
    text = seen.read_bytes()
    assert b"MINE=kept" in text and SECRET_KEY.encode() not in text and ACCESS_KEY.encode() not in text
    assert_same(s3box.db, s3box.restore())
