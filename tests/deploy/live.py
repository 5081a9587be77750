"""The pods themselves, run here (`node.py`) against a real API server with the rights that
the manifests give them: the program gets what it should, hears of changes, is not touched by
what is invalid, and reaches nothing else; the Job ends. Values are made up in each run."""

import base64
import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile

import yaml

import pods
import together
import vault
from binary import SECRETS, production_config_map
from node import Node, until
from rendered import run
from server import Namespace, moved

# An API as DataLens's: reads its environment once, is ready at once, drains at SIGTERM.
API = """#!/usr/bin/python3
import http.server, json, os, signal, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print(json.dumps({"uid": os.getuid(), **os.environ}), flush=True)
server.serve_forever()
"""
# One that reads the .env of its folder, once, and nothing else.
LOADER = """#!/usr/bin/python3
import json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
lines = [line.strip().split("=", 1) for line in open(".env") if "=" in line]
held = {name: value.strip("'\\"") for name, value in lines}
print(json.dumps({"uid": os.getuid(), "file": held, "environment": sorted(os.environ)}), flush=True)
signal.pause()
"""
MIGRATE = """#!/usr/bin/python3
import json, os
print(json.dumps({"uid": os.getuid(), **os.environ}), flush=True)
"""
MADE = ["ServiceAccount", "Role", "RoleBinding", "ConfigMap"]


def possible():
    """Why this machine cannot, if it cannot."""
    if os.geteuid() != 0:
        return "this is not root"
    missing = [p for p in ("python3", "setpriv", "nsenter", "unshare") if not os.path.exists(f"/usr/bin/{p}")]
    if missing:
        return f"/usr/bin has no {', '.join(missing)}"
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return None if done.returncode == 0 else f"no namespaces can be made ({done.stderr.strip()})"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """A namespace with what is deployed and what people bring."""

    def __init__(self, server, namespace, stack):
        self.server, self.namespace = server, namespace
        self.objects = moved([o for o in stack.objects if o["kind"] in MADE], namespace)
        for o in self.objects:
            if "dlconf.toml" in o.get("data", {}):
                text = o["data"]["dlconf.toml"]
                # Every pod has ports of its own in a cluster, but not here.
                o["data"]["dlconf.toml"] = text.replace("0.0.0.0:9470", f"127.0.0.1:{free_port()}")
        config = json.loads(server.run("config", "view", "--raw", "--minify", "--flatten", "-o", "json").stdout)
        cluster = config["clusters"][0]["cluster"]
        self.address = cluster["server"].removeprefix("https://").rstrip("/").rsplit(":", 1)
        self.authority = base64.b64decode(cluster["certificate-authority-data"])

    def put(self, *objects):
        self.server.run("apply", "-f", "-", objects=objects)

    def secret(self, name, values):
        metadata = {"name": name, "namespace": self.namespace}
        self.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})

    def config_map(self, name, **values):
        patch = json.dumps({"data": values})
        self.server.run("patch", "configmap", name, "-n", self.namespace, "-p", patch)

    def token(self, account, audience=None):
        audience = [f"--audience={audience}"] if audience else []
        wanted = ["create", "token", account, "-n", self.namespace, "--duration=3600s", *audience]
        return self.server.run(*wanted).stdout.strip()

    def files(self, account):
        """What the sources of volumes hold, for a pod of this account."""

        def of(source):
            if "serviceAccountToken" in source:
                wanted = source["serviceAccountToken"]
                return {wanted["path"]: self.token(account, wanted.get("audience")).encode()}
            if "downwardAPI" in source:
                return {source["downwardAPI"]["items"][0]["path"]: self.namespace.encode()}
            if "secret" in source:
                return {"snapshot-key": secrets.token_hex(32).encode()}
            name = source["configMap"]["name"]
            if name in ("kube-root-ca.crt", "vault-ca"):
                return {"ca.crt": self.authority}
            found = next(o for o in self.objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == name)
            return {k: v.encode() for k, v in found["data"].items()}

        return of


def given(names):
    return dict(n.split("=", 1) if "=" in n else (n, secrets.token_hex(32)) for n in names)


def wrong(server, dlconf, bao, stacks, say):
    why = possible()
    if why:
        say(f"no pod was run: {why}")
        return
    by_name = {s.name: s for s in stacks}
    plays = [
        ("production", "datalens-cc", the_api),
        ("development, .env", "datalens-portal", the_loader),
        ("migrate", "datalens-migrate", the_job),
    ]
    if bao:
        plays.append(("production, Vault", "datalens-admin", lambda *pod: the_vault(*pod, bao)))
    else:
        say("no pod was run with Vault: there is no OpenBao (DLCONF_TEST_BAO_BINARY)")
    for stack, workload, play in plays:
        with Namespace(server) as namespace, tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            cluster = Cluster(server, namespace.name, by_name[stack])
            deployed = {n: (t["spec"], s) for n, t, s, _ in together.deployed(by_name[stack])}
            spec, settings = deployed[workload]
            yield from (f"{stack}, {workload} run: {p}" for p in play(cluster, dlconf, folder, spec, settings))
    ran = ", ".join(f"{workload} ({stack})" for stack, workload, _ in plays)
    say(f"these pods were run with the rights that they are given: {ran}")


def prepared(cluster, dlconf, folder, spec, settings, program):
    """The pod, not started, and the Secrets that its settings name."""
    values = {}
    cluster.put(*cluster.objects)
    for source in together.sources(settings, "kubernetes"):
        for name in source.get("config_maps", []):
            if not any(o["metadata"]["name"] == name for o in cluster.objects):
                metadata = {"name": name, "namespace": cluster.namespace}
                data = production_config_map(name)
                cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        for name in source.get("secrets", []):
            values[name] = given(SECRETS[name])
            cluster.secret(name, values[name])
    host, port = cluster.address
    variables = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "HOSTNAME": "datalens-0"}
    files = cluster.files(spec["serviceAccountName"])
    return Node(folder, spec, dlconf, program, files, variables), values


def starts(container):
    """What the program had at each of its starts."""
    return [json.loads(line) for line in container.said().splitlines() if line.startswith("{") and '"uid"' in line]


def the_api(cluster, dlconf, folder, spec, settings):
    spec = yaml.safe_load(yaml.safe_dump(spec))
    api, beside = spec["containers"][0], pods.sidecar(spec)
    port = free_port()
    api["args"] = [a.replace(":8080/", f":{port}/") for a in api["args"]]
    for o in cluster.objects:
        if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "datalens-cc":
            o["data"]["APP_PORT"] = str(port)
    node, values = prepared(cluster, dlconf, folder, spec, settings, {"/app/api": API})
    try:
        daemon, program = node.up()
        until("the API was started", lambda: starts(program), program)
        first = starts(program)[0]
        wanted = {k: v for held in values.values() for k, v in held.items()}
        if any(first.get(k) != v for k, v in wanted.items()) or first["APP_ENV"] != "production":
            yield "the API was not given what the cluster holds"
        if first["uid"] != api["securityContext"]["runAsUser"] or "PORTAL_JWT_SECRET" in first:
            yield "the API is another user, or has what is the portal's"

        changed = secrets.token_hex(32)
        cluster.secret("datalens-cc-admin", {"JWT_SECRET": changed})
        until("the API was restarted for a changed Secret", lambda: len(starts(program)) == 2, program)
        if starts(program)[1]["JWT_SECRET"] != changed:
            yield "the API was restarted with an old value"
        until(
            "the restart lock was taken and given back",
            lambda: leases(cluster, "datalens-cc-restart") == "",
            program,
        )

        cluster.config_map("datalens-api", DB_SSL_MODE="disable")
        until("the invalid value was refused", lambda: '"event":"rejected"' in daemon.said(), daemon)
        cluster.config_map("datalens-api", DB_SSL_MODE="require")
        until("the API was restarted for a valid value", lambda: len(starts(program)) == 3, program)
        if starts(program)[2]["DB_SSL_MODE"] != "require":
            yield "the API was restarted for an invalid value"

        health = beside["livenessProbe"]["exec"]["command"]
        if node.execute(beside, health).returncode != 0:
            yield "dlconf's liveness probe fails"
        yield from reaches(node, api, beside)
        code, _ = program.stop()
        if code != 0:
            yield f"the API's container ended with {code}"
        code, took = daemon.stop()
        if code != 0 or took > 2:
            yield f"dlconf ended with {code} after {took:.1f} s"
        made_up = [v for v in wanted.values() if len(v) == 64]
        for container in (daemon, program):
            # The program's own words, those of the stand-in, hold them all.
            said = [line for line in container.said().splitlines() if '"uid"' not in line]
            if any(value in line for value in made_up for line in said):
                yield f"a value is in the log of {container.name}"
    finally:
        node.down()


def leases(cluster, name):
    wanted = ["get", "lease", name, "-n", cluster.namespace, "-o", "jsonpath={.spec.holderIdentity}"]
    done = cluster.server.run(*wanted, check=False)
    return done.stdout if done.returncode == 0 else None


def reaches(node, api, beside):
    """What the API's container must not reach, tried in it."""
    asks = ["/opt/dlconf/dlconf", "run", "--socket=/run/dlconf/dlconf.sock", "--wait=0s", "--", "/usr/bin/true"]
    if node.execute(api, asks).returncode != 0:
        yield "the API's own user cannot ask again"
    if node.execute(api, asks, user=10099).returncode != 125:
        yield "another user of the pod is given values"
    if node.execute(beside, ["/dlconf", "get", "JWT_SECRET"]).returncode != 4:
        yield "dlconf's own user is given values"
    for path in ("/run/dlconf/x", "/opt/dlconf/x"):
        if node.execute(api, ["/usr/bin/touch", path]).returncode == 0:
            yield f"the API's container may write {path}"
    for path in ("/run/dlconf-keys", "/var/lib/dlconf", "/etc/dlconf"):
        if node.execute(api, ["/usr/bin/ls", path]).returncode == 0:
            yield f"the API's container sees {path}"


def the_loader(cluster, dlconf, folder, spec, settings):
    spec = yaml.safe_load(yaml.safe_dump(spec))
    # Chance has no place in a test.
    spec["containers"][0]["args"].remove("--splay=30s")
    node, values = prepared(cluster, dlconf, folder, spec, settings, {"/usr/local/bin/api": LOADER})
    try:
        daemon, program = node.up()
        until("the program was started", lambda: starts(program), program)
        first = starts(program)[0]
        wanted = {k: v for held in values.values() for k, v in held.items()}
        if any(first["file"].get(k) != v for k, v in wanted.items()) or "JWT_SECRET" in first["file"]:
            yield "/app/.env does not hold what the portal reads"
        if set(first["environment"]) & set(first["file"]):
            yield "the program has values in its environment"
        changed = secrets.token_hex(32)
        cluster.secret("datalens-portal", {"PORTAL_JWT_SECRET": changed})
        until("the program was restarted for a changed Secret", lambda: len(starts(program)) == 2, program)
        if starts(program)[1]["file"]["PORTAL_JWT_SECRET"] != changed:
            yield "the program was restarted with the old file"
        for container in (program, daemon):
            code, _ = container.stop()
            if code != 0:
                yield f"{container.name} ended with {code}"
    finally:
        node.down()


def the_vault(cluster, dlconf, folder, spec, settings, bao):
    spec = yaml.safe_load(yaml.safe_dump(spec))
    port, at = free_port(), free_port()
    api, account = spec["containers"][0], spec["serviceAccountName"]
    api["args"] = [a.replace(":8081/", f":{port}/") for a in api["args"]]
    for o in cluster.objects:
        if o["metadata"]["name"] == account and o["kind"] == "ConfigMap":
            o["data"]["APP_PORT"] = str(port)
        elif "dlconf.toml" in o.get("data", {}):
            # This OpenBao has no certificate: it is on loopback.
            text = o["data"]["dlconf.toml"].replace("https://vault.vault.svc:8200", f"http://127.0.0.1:{at}")
            kept = [p for p in text.split("\n\n") if not p.startswith("[source.vault.tls]")]
            o["data"]["dlconf.toml"] = "\n\n".join(kept)
    node, _ = prepared(cluster, dlconf, folder, spec, settings, {"/app/api": API})
    config = os.path.join(folder, "dlconf.toml")
    held = next(
        o["data"]["dlconf.toml"] for o in cluster.objects
        if o["kind"] == "ConfigMap" and o["metadata"]["name"].startswith("dlconf-settings-admin")
    )
    with open(config, "w") as file:
        file.write(held)
    policy = run([dlconf, "--config", config, "--env", "production", "vault-policy"])
    values = given(SECRETS["datalens-api"] + SECRETS["datalens-cc-admin"])
    with reviewer(cluster) as token, vault.running(bao, at) as server:
        vault.trust(server, cluster, token)
        vault.admit(server, account, cluster.namespace, policy.stdout)
        server.write("datalens/production/api", {k: v for k, v in values.items() if k != "JWT_SECRET"})
        server.write("datalens/production/cc-admin", {"JWT_SECRET": values["JWT_SECRET"]})
        login = {"role": account, "jwt": cluster.token(account)}
        if not server.refuses("auth/kubernetes/login", login):
            yield "Vault takes the token that is for the API server"
        try:
            daemon, program = node.up()
            until("the API was started", lambda: starts(program), program)
            if any(starts(program)[0].get(k) != v for k, v in values.items()):
                yield "the API was not given what Vault holds"
            changed = secrets.token_hex(32)
            server.write("datalens/production/cc-admin", {"JWT_SECRET": changed})
            until("the API was restarted for a new version", lambda: len(starts(program)) == 2, program)
            if starts(program)[1]["JWT_SECRET"] != changed:
                yield "the API was restarted with an old value"
            for container in (program, daemon):
                code, _ = container.stop()
                if code != 0:
                    yield f"{container.name} ended with {code}"
        finally:
            node.down()


@contextlib.contextmanager
def reviewer(cluster):
    """The token of an account that may ask the API server whose a token is."""
    name = cluster.namespace
    metadata = {"name": "reviewer", "namespace": name}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    cluster.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, binding)
    try:
        yield cluster.token("reviewer")
    finally:
        cluster.server.run("delete", "clusterrolebinding", name, "--ignore-not-found")


def the_job(cluster, dlconf, folder, spec, settings):
    node, values = prepared(cluster, dlconf, folder, spec, settings, {"/app/migrate": MIGRATE})
    try:
        daemon, program = node.up()
        if program.process.wait(timeout=60) != 0:
            yield f"the migrations failed: {program.said()}"
            return
        got = starts(program)[0]
        wanted = values["datalens-migrate"]
        if any(got.get(k) != v for k, v in wanted.items()) or "JWT_SECRET" in got or "APP_SECRET_KEY" in got:
            yield "the migrations were not given the database, or more than it"
        code, took = daemon.stop()
        if code != 0 or took > 2:
            yield f"dlconf ended with {code} after {took:.1f} s: the Job would not end"
    finally:
        node.down()
