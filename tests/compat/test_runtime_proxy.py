"""An extension stands between a function and the Runtime API, as AWS documents it for wrappers.

It knows the requests of AWS's documents and no others, which Hearth's own transport makes only to
Hearth itself.
"""

import json
from typing import TYPE_CHECKING

import pytest

from compat.platform import Platform, create, package

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

HANDLER = """
def handler(event, context):
    if event.get("raise"):
        raise ValueError("as asked")
    return event
"""
WRAPPER = '#!/bin/sh\nexec "$1" /var/task/proxy.py "$@"\n'
PROXY = r"""
import http.client, http.server, os, re, sys

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
KNOWN = re.compile(r"/2018-06-01/runtime/invocation/(next|[^/]+/(response|error))")

class Between(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if not KNOWN.fullmatch(self.path):
            print("not documented:", self.path, flush=True)
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/response"):
            body = b'{"through": %s}' % body
        above = http.client.HTTPConnection(API)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "content-length"}
        above.request(self.command, self.path, body or None, headers)
        answer = above.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        above.close()

    do_POST = do_GET

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 9009), Between)
if os.fork():
    os.environ["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:9009"
    os.execvp(sys.argv[1], sys.argv[1:])
server.serve_forever()
"""


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


def test_who_stands_between_sees_what_aws_documents(client: "LambdaClient") -> None:
    files = {"app.py": HANDLER, "proxy.py": PROXY, "wrap": WRAPPER}
    create(
        client,
        "proxied",
        HANDLER,
        Code={"ZipFile": package(files, executable=("wrap",))},
        Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"}},
        Timeout=30,
        MemorySize=512,
    )
    for number in (1, 2):
        answer = client.invoke(FunctionName="proxied", Payload=json.dumps({"n": number}).encode())
        assert json.loads(answer["Payload"].read()) == {"through": {"n": number}}
        assert "FunctionError" not in answer
    answer = client.invoke(FunctionName="proxied", Payload=b'{"raise": true}')
    assert json.loads(answer["Payload"].read())["errorMessage"] == "as asked"
    answer = client.invoke(FunctionName="proxied", Payload=b'{"n": 3}', LogType="Tail")
    assert json.loads(answer["Payload"].read()) == {"through": {"n": 3}}
    client.delete_function(FunctionName="proxied")
