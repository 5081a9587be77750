"""moto's S3, which checks signatures and rights: prints where it is and the pairs that it
knows, as JSON, and ends with its standard input.

`reader` may do everything, `nobody` nothing.
"""

import json
import os
import sys
import threading

# From the first request on.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"

from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ACCOUNT = "123456789012"
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


def pair(name, policy):
    iam = iam_backends[ACCOUNT]["aws"]
    iam.create_user("us-east-1", name)
    if policy:
        iam.put_user_policy(name, "all", json.dumps(policy))
    key = iam.create_access_key(name)
    return {"id": key.access_key_id, "secret": key.secret_access_key}


pairs = {"reader": pair("reader", ALL), "nobody": pair("nobody", None)}
s3_backends[ACCOUNT]["aws"].create_bucket("scans", "us-east-1")
application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_port, **pairs}), flush=True)
sys.stdin.read()
