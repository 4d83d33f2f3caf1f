"""The services that hand out credentials, in the test process: an EC2 instance's metadata (IMDSv2),
a container's agent, and STS for web identities.

Each hands out numbered keys, so that a renewal can be seen; they are told to the S3 of the test, which
takes none but those. `life`: seconds until they expire.
"""
import json
import time
import urllib.parse

from web import Reply, Server

ROLE = "role-of-the-test"


def timestamp(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


class Service(Server):
    def __init__(self, s3, life=3600):
        self.s3, self.life, self.given = s3, life, []
        super().__init__()

    def issue(self):
        """A new pair with its session token; S3 knows it from now on."""
        n = len(self.given)
        key = (f"ASIACANARY{n:010d}", f"canary/secret+{type(self).__name__}{n:020d}", f"canary//token++{n:040d}==")
        self.given.append(key)
        with self.s3.lock:
            self.s3.keys[key[0]] = key[1:]
        return key

    def as_json(self):
        access, secret, token = self.issue()
        return Reply(
            body=json.dumps(
                {
                    "Code": "Success",
                    "LastUpdated": timestamp(self.now()),
                    "Type": "AWS-HMAC",
                    "AccessKeyId": access,
                    "SecretAccessKey": secret,
                    "Token": token,
                    "Expiration": timestamp(self.now() + self.life),
                }
            ).encode(),
            headers={"Content-Type": "application/json"},
        )

    def secrets(self):
        return [part for key in self.given for part in key[1:]]


class Instance(Service):
    """AWS_EC2_METADATA_SERVICE_ENDPOINT. Without the session token of a PUT it says 401 (IMDSv2)."""

    SESSION = "canary-session-of-the-instance"
    PREFIX = "/latest/meta-data/iam/security-credentials/"

    def classify(self, request):
        request.kind = "token" if request.path == "/latest/api/token" else "ask"

    def reply_to(self, request):
        if request.kind == "token":
            if request.method != "PUT" or not request.headers.get("x-aws-ec2-metadata-token-ttl-seconds"):
                return Reply(400)
            ttl = request.headers["x-aws-ec2-metadata-token-ttl-seconds"]
            return Reply(body=self.SESSION.encode(), headers={"x-aws-ec2-metadata-token-ttl-seconds": ttl})
        if request.headers.get("x-aws-ec2-metadata-token") != self.SESSION:
            return Reply(401)
        if request.path == self.PREFIX:
            return Reply(body=ROLE.encode(), headers={"Content-Type": "text/plain"})
        return self.as_json() if request.path == self.PREFIX + ROLE else Reply(404)

    def secrets(self):
        return [*super().secrets(), self.SESSION]


class Container(Service):
    """AWS_CONTAINER_CREDENTIALS_FULL_URI; with `authorization` set that header is asked for."""

    authorization = None

    def reply_to(self, request):
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return Reply(403, b'{"code":"AccessDenied","message":"said by the test"}')
        return self.as_json() if request.path == "/v2/credentials/x" else Reply(404)


class TokenService(Service):
    """AWS_ENDPOINT_URL_STS: AssumeRoleWithWebIdentity, as a form (POST) or a query (GET)."""

    identity = "canary.web.identity"

    def reply_to(self, request):
        form = dict(request.query) | dict(urllib.parse.parse_qsl(request.body.decode()))
        if form.get("Action") != "AssumeRoleWithWebIdentity" or form.get("Version") != "2011-06-15":
            return self.error(400, "InvalidAction")
        if not form.get("RoleArn", "").startswith("arn:aws:iam:") or not form.get("RoleSessionName"):
            return self.error(400, "ValidationError")
        if form.get("WebIdentityToken") != self.identity:
            return self.error(400, "InvalidIdentityToken")
        access, secret, token = self.issue()
        body = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>subject</SubjectFromWebIdentityToken>
    <Credentials>
      <SessionToken>{token}</SessionToken>
      <SecretAccessKey>{secret}</SecretAccessKey>
      <Expiration>{timestamp(self.now() + self.life)}</Expiration>
      <AccessKeyId>{access}</AccessKeyId>
    </Credentials>
    <Provider>test</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>0</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>"""
        return Reply(body=body.encode(), headers={"Content-Type": "text/xml"})

    def error(self, status, code):
        words = f"<Type>Sender</Type><Code>{code}</Code><Message>said by the test</Message>"
        body = f"<ErrorResponse><Error>{words}</Error><RequestId>0</RequestId></ErrorResponse>"
        return Reply(status, body.encode(), {"Content-Type": "text/xml"})

    def secrets(self):
        return [*super().secrets(), self.identity]
