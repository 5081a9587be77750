"""An OpenBao of the test's own, set up as docs/kubernetes.md says: Kubernetes auth by the
API server's TokenReview, a role and a policy for one mode. In memory, on loopback."""

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


class Vault:
    def __init__(self, address, token):
        self.address, self.token = address, token

    def ask(self, path, body=None, method="POST"):
        request = urllib.request.Request(f"{self.address}/v1/{path}", method=method)
        request.add_header("X-Vault-Token", self.token)
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            return json.loads(answer.read() or "{}")

    def refuses(self, path, body):
        try:
            self.ask(path, body)
            return False
        except urllib.error.HTTPError as error:
            return 400 <= error.code < 500

    def write(self, path, values):
        self.ask(f"secret/data/{path}", {"data": values})


@contextlib.contextmanager
def running(binary, port):
    token = secrets.token_hex(16)
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        variables = {"HOME": home, "BAO_DEV_ROOT_TOKEN_ID": token, "BAO_DEV_LISTEN_ADDRESS": f"127.0.0.1:{port}"}
        with open(os.path.join(home, "log"), "w") as log:
            command = [binary, "server", "-dev", "-dev-no-store-token"]
            process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        vault = Vault(address, token)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    vault.ask("sys/health", method="GET")
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit("tests/manifests: OpenBao did not start") from None
                    time.sleep(0.05)
            yield vault
        finally:
            process.terminate()
            process.wait(timeout=30)


def trust(vault, cluster, reviewer):
    """It believes tokens that the API server says to be good; `reviewer` may ask for that."""
    host, port = cluster.address
    vault.ask("sys/auth/kubernetes", {"type": "kubernetes"})
    vault.ask("auth/kubernetes/config", {
        "kubernetes_host": f"https://{host}:{port}",
        "kubernetes_ca_cert": cluster.authority.decode(),
        "token_reviewer_jwt": reviewer,
    })


def admit(vault, account, namespace, policy):
    vault.ask(f"sys/policies/acl/{account}", {"policy": policy})
    vault.ask(f"auth/kubernetes/role/{account}", {
        "audience": "vault",
        "bound_service_account_names": account,
        "bound_service_account_namespaces": namespace,
        "token_policies": account,
        "token_no_default_policy": True,
        "token_ttl": "1h",
    })
