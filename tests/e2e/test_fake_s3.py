"""The S3 of the tests is strict: its signatures are Amazon's, and what is wrong is refused. curl(1)
signs here, which knows nothing of ours."""
import shutil
import subprocess

import pytest

import fake_s3
from fake_s3 import ACCESS_KEY, SECRET_KEY, refuse
from web import cut_after, late, lost_reply

HOSTNAME = "/etc/hostname"


@pytest.fixture
def curl(s3):
    """curl(path, ...): a signed request; its output and HTTP status."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")

    def ask(path, *args, keys=f"{ACCESS_KEY}:{SECRET_KEY}", region="us-east-1", payload="UNSIGNED-PAYLOAD"):
        signed = ["--aws-sigv4", f"aws:amz:{region}:s3", "-u", keys, "-H", f"x-amz-content-sha256: {payload}"]
        done = subprocess.run(
            ["curl", "-sS", "-w", "\n%{http_code}", *signed, *args, f"{s3.url}{path}"], capture_output=True, text=True
        )
        out, _, status = done.stdout.rpartition("\n")
        return out + done.stderr, int(status)

    return ask


def test_signatures_are_those_of_amazons_example():
    """"GET Object" of the Amazon S3 API reference, "Signature Calculations"."""
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "range": "bytes=0-9",
        "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "x-amz-date": "20130524T000000Z",
    }
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    payload, date = headers["x-amz-content-sha256"], headers["x-amz-date"]
    got = fake_s3.sign("GET", "/test.txt", headers, sorted(headers), payload, secret, date, "us-east-1")
    assert got == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"


def test_objects(curl):
    body = open(HOSTNAME).read()
    assert curl("/bucket/a/x", "-T", HOSTNAME)[1] == 200
    assert curl("/bucket/a/x", "-T", HOSTNAME, "-H", "If-None-Match: *")[1] == 412
    assert curl("/bucket/a/x") == (body, 200)
    assert curl("/bucket/a/x", "-r", "1-2") == (body[1:3], 206)
    assert curl("/bucket/a/x", "-r", "1000-")[1] == 416
    out, status = curl("/bucket?list-type=2&prefix=a%2F")
    assert status == 200 and "<Key>a/x</Key>" in out
    assert curl("/bucket/a/x", "-X", "DELETE")[1] == 204
    assert curl("/bucket/a/x")[1] == 404 and curl("/other/a/x")[1] == 404


REFUSED = [
    ({"keys": f"{ACCESS_KEY}:wrong"}, "SignatureDoesNotMatch"),
    ({"keys": f"AKIANOBODY:{SECRET_KEY}"}, "InvalidAccessKeyId"),
    ({"region": "eu-west-1"}, "AuthorizationHeaderMalformed"),
    ({"payload": "0" * 64}, "XAmzContentSHA256Mismatch"),
]


@pytest.mark.parametrize("how,code", REFUSED, ids=[code for _, code in REFUSED])
def test_what_is_wrong_is_refused(curl, how, code):
    out, status = curl("/bucket/x", **how)
    assert status in (400, 403) and f"<Code>{code}</Code>" in out


def test_clock_and_session(curl, s3):
    s3.skew = 1000
    assert "RequestTimeTooSkewed" in curl("/bucket/x")[0]
    s3.skew = 800
    assert "NoSuchKey" in curl("/bucket/x")[0]
    s3.keys[ACCESS_KEY] = (SECRET_KEY, "token")
    assert "InvalidToken" in curl("/bucket/x")[0]
    s3.expired.add(ACCESS_KEY)
    assert "ExpiredToken" in curl("/bucket/x")[0]


def test_faults_hit_what_they_name(curl, s3):
    stray = []
    s3.fault(lost_reply, kind="put", key="^lost$", times=1)
    s3.fault(late(stray), kind="put", key="^late$")
    s3.fault(refuse(503, "SlowDown"), kind="get", skip=1, times=1)
    s3.fault(cut_after(1), kind="get", key="^late$")
    for key in ("lost", "late"):
        assert "reset by peer" in curl(f"/bucket/{key}", "-T", HOSTNAME)[0]
    assert list(s3.objects) == ["lost"]
    assert stray[0]().status == 200 and list(s3.objects) == ["lost", "late"]
    assert [curl("/bucket/lost")[1] for _ in range(3)] == [200, 503, 200]
    assert "reset by peer" in curl("/bucket/late")[0]
    with s3.outage():
        assert "connect" in curl("/bucket/lost")[0]
    assert curl("/bucket/lost")[1] == 200
