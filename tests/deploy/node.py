"""A kubelet's part, done by hand: runs the containers of a pod as processes, each with a
root, a process namespace, a user and volumes of its own, as the manifest says. Needs root
and util-linux. Networks, limits and seccomp are not kept."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pods

# What programs of this machine need to run in a root of their own.
SHARED = ["/usr", "/dev"]
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


class Container:
    """One that runs; `pid` is the first process in it."""

    def __init__(self, name, process, log):
        self.name, self.process, self.log = name, process, log
        self.pid = None

    def first(self):
        """The process that is number 1 in it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + 10
        while self.pid is None and self.process.poll() is None and time.monotonic() < deadline:
            found = children.read_text().split()
            self.pid = int(found[0]) if found else None
        return self.pid

    def said(self):
        return self.log.read_text()

    def stop(self):
        """As the kubelet does; the exit code, and how long it took."""
        began = time.monotonic()
        if self.first() and self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(timeout=60), time.monotonic() - began


class Node:
    """One pod. `files(source)` gives what a volume source holds, `programs` what the images
    have beside dlconf: a path and a text."""

    def __init__(self, folder, spec, dlconf, programs, files, variables):
        self.folder, self.spec, self.dlconf, self.programs = Path(folder), spec, dlconf, programs
        self.variables = variables
        self.group = spec["securityContext"]["fsGroup"]
        self.running = []
        for volume in spec["volumes"]:
            self.make(volume, files)

    def volume(self, name):
        return self.folder / "volumes" / name

    def make(self, volume, files):
        path = self.volume(volume["name"])
        path.mkdir(parents=True)
        if "emptyDir" in volume:
            os.chown(path, 0, self.group)
            path.chmod(0o2777)
            return
        # As the kubelet writes them: a folder, a link to it, links to its files.
        data = path / "..2026"
        data.mkdir()
        for source in volume.get("projected", {}).get("sources", [volume]):
            for name, content in files(source).items():
                (data / name).write_bytes(content)
                (path / name).symlink_to(f"..data/{name}")
                os.chown(data / name, 0, self.group)
                # With fsGroup the group may read, whatever the mode says.
                (data / name).chmod(mode_of(volume) | 0o440)
        (path / "..data").symlink_to(data.name)

    def root(self, container):
        """What its process sees as /: an image, and the volumes that it mounts."""
        root = self.folder / "roots" / container["name"]
        (root / "proc").mkdir(parents=True)
        mounts = []
        for path in SHARED:
            (root / path[1:]).mkdir()
            mounts.append(f"mount --rbind {path} {root}{path}")
        for link, target in LINKS.items():
            (root / link).symlink_to(target)
        (root / "dlconf").touch()
        mounts.append(f"mount --bind {self.dlconf} {root}/dlconf")
        for path, text in self.programs.items():
            file = self.folder / "images" / container["name"] / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
            # Over what the machine has in that folder.
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            mounts.append(f"mount --bind {file.parent} {(root / path[1:]).parent}")
        for mount in container.get("volumeMounts", []):
            at = f"{root}{mount['mountPath']}"
            os.makedirs(at, exist_ok=True)
            mounts.append(f"mount --bind {self.volume(mount['name'])} {at}")
            if mount.get("readOnly"):
                mounts.append(f"mount -o remount,bind,ro {at}")
        return root, mounts

    def as_user(self, container, command, user=None):
        context = container["securityContext"]
        own = {v["name"]: v["value"] for v in container.get("env", [])}
        variables = [f"{k}={v}" for k, v in {**self.variables, "PATH": "/usr/bin", **own}.items()]
        ids = [f"--reuid={user or context['runAsUser']}", f"--regid={user or context['runAsGroup']}"]
        # Nothing outlives the one that runs it, however that ends.
        confined = [f"--groups={self.group}", "--no-new-privs", "--bounding-set=-all", "--pdeathsig=KILL"]
        where = f"--chdir={container.get('workingDir', '/')}"
        return ["/usr/bin/env", "-i", where, *variables, "/usr/bin/setpriv", *ids, *confined, "--", *command]

    def start(self, container):
        root, mounts = self.root(container)
        script = "; ".join(["set -e", *mounts, f"mount -t proc proc {root}/proc", f'exec chroot {root} "$@"'])
        own = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--propagation", "private"]
        command = self.as_user(container, container["command"] + container["args"])
        log = self.folder / f"{container['name']}.log"
        with log.open("a") as out:
            whole = [*own, "bash", "-c", script, "bash", *command]
            process = subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.running.append(Container(container["name"], process, log))
        return self.running[-1]

    def execute(self, container, command, user=None):
        """A probe, or somebody with `kubectl exec`."""
        target = next(c for c in self.running if c.name == container["name"]).first()
        inside = ["nsenter", f"--target={target}", "--mount", "--pid", "--root", "--wd"]
        whole = [*inside, *self.as_user(container, command, user)]
        return subprocess.run(whole, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def up(self):
        """In the order of a pod: sidecars until their startup probe, then what runs once,
        then the rest. The sidecar and the last of the containers."""
        for container in self.spec["initContainers"]:
            started = self.start(container)
            if container.get("restartPolicy") == "Always":
                probe = container["startupProbe"]["exec"]["command"]
                until(f"{container['name']} is ready", lambda: self.execute(container, probe).returncode == 0, started)
            elif started.process.wait(timeout=60) != 0:
                raise SystemExit(f"tests/manifests: {container['name']} failed: {started.said()}")
        beside = next(c for c in self.running if c.name == pods.SIDECAR)
        return beside, [self.start(c) for c in self.spec["containers"]][-1]

    def down(self):
        for container in self.running:
            if container.first() and container.process.poll() is None:
                os.kill(container.pid, signal.SIGKILL)
                container.process.wait()


def mode_of(volume):
    for kind in ("projected", "secret", "configMap"):
        if kind in volume:
            return volume[kind].get("defaultMode", 0o644)
    return 0o644


def until(what, met, container, seconds=60):
    deadline = time.monotonic() + seconds
    while not met():
        if container.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"tests/manifests: not so: {what}; {container.name} said:\n{container.said()}")
        time.sleep(0.05)
