"""What a real API server says, in a namespace that is made for it and goes afterwards:
does it accept the objects (dry run), does it admit the pods under 'restricted', and do the
accounts get the rights that are meant and no others. What a server is too old for is said."""

import copy
import json
import secrets
import time

import pods
import together
from rendered import Rendered, load, run

# Where a server begins to know what is used here.
SIDECARS, RESTRICTED = (1, 29), (1, 23)


class Server:
    def __init__(self, kubectl, kubeconfig):
        self.kubectl = [kubectl, "--kubeconfig", kubeconfig]
        version = json.loads(self.run("version", "-o", "json").stdout)["serverVersion"]
        digits = lambda text: int("".join(c for c in text if c.isdigit()))
        self.version = (digits(version["major"]), digits(version["minor"]))
        self.called = version["gitVersion"]
        self.asked = set()
        rows = self.run("api-resources", "--no-headers", "-o", "wide").stdout.splitlines()
        # NAME [SHORTNAMES] APIVERSION NAMESPACED KIND …: the kind follows true or false.
        self.kinds = set()
        for row in (r.split() for r in rows):
            at = next(i for i, word in enumerate(row) if word in ("true", "false"))
            self.kinds.add((row[at - 1], row[at + 1]))

    def run(self, *arguments, objects=None, check=True):
        # One after the other in JSON, which is YAML, and what a raw request takes.
        stdin = None if objects is None else "\n---\n".join(map(json.dumps, objects))
        return run([*self.kubectl, *arguments], stdin=stdin, check=check)

    def dry_run(self, objects, where="server"):
        return self.run("create", f"--dry-run={where}", "--validate=strict", "-f", "-", objects=objects, check=False)


class Namespace:
    """One of its own, under 'restricted'; what was made in it goes with it."""

    def __init__(self, server):
        self.server = server
        self.name = f"dlconf-manifests-{secrets.token_hex(4)}"

    def __enter__(self):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": labels}}
        self.server.run("create", "-f", "-", objects=[namespace])
        return self

    def __exit__(self, *_):
        kubectl = self.server.run
        # A server without controllers empties no namespace and never ends one.
        alone = not kubectl("get", "serviceaccount", "default", "-n", self.name, check=False).stdout
        kubectl("delete", "serviceaccounts,roles,rolebindings,configmaps,secrets,leases", "--all", "-n", self.name, check=False)
        kubectl("delete", "namespace", self.name, "--wait=false", check=False)
        if alone:
            found = kubectl("get", "namespace", self.name, "-o", "json", check=False)
            if found.returncode == 0:
                rest = json.loads(found.stdout)
                rest["spec"]["finalizers"] = []
                kubectl("replace", "--raw", f"/api/v1/namespaces/{self.name}/finalize", "-f", "-", objects=[rest])
        deadline = time.monotonic() + 120
        while kubectl("get", "namespace", self.name, check=False).returncode == 0:
            if time.monotonic() > deadline:
                raise SystemExit(f"tests/manifests: the namespace {self.name} does not go")
            time.sleep(0.5)


def moved(objects, namespace):
    objects = copy.deepcopy([o for o in objects if o["kind"] != "Namespace"])
    for o in objects:
        o["metadata"]["namespace"] = namespace
        for subject in o.get("subjects", []):
            subject["namespace"] = namespace
    return objects


def aged(objects):
    """For a server that knows no native sidecars: dlconf as a container like others."""
    for o in objects:
        if o["kind"] in ("Deployment", "Job"):
            spec = o["spec"]["template"]["spec"]
            dlconf = pods.sidecar(spec)
            if dlconf is None:
                continue
            spec["initContainers"].remove(dlconf)
            dlconf.pop("restartPolicy")
            spec["containers"].append(dlconf)
            for spread in spec.get("topologySpreadConstraints", []):
                spread.pop("matchLabelKeys", None)
    return objects


def wrong(server, stacks, say):
    if server.version < SIDECARS:
        say(f"{server.called} knows no native sidecars and no matchLabelKeys: they are left out of what it is asked")
    if server.version < RESTRICTED:
        say(f"{server.called} has no Pod Security admission: 'restricted' is judged by our own rules alone")
    passed_over = set()
    with Namespace(server) as namespace:
        for stack in stacks:
            objects = moved(stack.objects, namespace.name)
            if server.version < SIDECARS:
                objects = aged(objects)
            known = [o for o in objects if (o["apiVersion"], o["kind"]) in server.kinds]
            passed_over |= {(o["apiVersion"], o["kind"]) for o in objects if o not in known}
            # The client's own dry run needs a server too: for what kinds there are.
            for where in ("client", "server"):
                done = server.dry_run(known, where)
                if done.returncode != 0:
                    yield f"{stack.name}: {server.called} refuses it ({where}): {done.stderr}"
            yield from (f"{stack.name}: {p}" for p in admitted(server, namespace.name, objects))
        if server.version >= RESTRICTED:
            yield from admits_anything(server, namespace.name)
    for version, kind in sorted(passed_over):
        say(f"{server.called} has no {kind} of {version}: not asked")


def admitted(server, namespace, objects):
    """The pods themselves, and what their accounts may: for that the accounts have to be
    there, so these and their rights are really made, and removed again."""
    made = [o for o in objects if o["kind"] in ("ServiceAccount", "Role", "RoleBinding")]
    done = server.run("create", "-f", "-", objects=made, check=False)
    if done.returncode != 0:
        yield f"its accounts and rights cannot be made: {done.stderr}"
        return
    for o in objects:
        if o["kind"] in ("Deployment", "Job"):
            done = server.dry_run([pod_of(o, namespace)])
            if done.returncode != 0 or "violate" in done.stderr:
                yield f"the pod of {o['metadata']['name']} is not admitted: {done.stderr}"
            account = o["spec"]["template"]["spec"]["serviceAccountName"]
            rights = frozenset(together.rights_of(Rendered("", made), account))
            # Most stacks have the same ones.
            if (account, rights) not in server.asked:
                server.asked.add((account, rights))
                yield from entitled(server, namespace, account, rights)
    server.run("delete", "-f", "-", objects=made)


def pod_of(workload, namespace):
    template = copy.deepcopy(workload["spec"]["template"])
    metadata = {**template["metadata"], "name": workload["metadata"]["name"], "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def entitled(server, namespace, account, rights):
    """Asks the server's own authorizer."""
    secret = next((name for _, resource, name in rights if resource == "secrets"), "any")
    others = {
        ("list", "secrets", None), ("watch", "secrets", None), ("get", "secrets", "another"),
        ("list", "configmaps", None), ("create", "secrets", None), ("update", "secrets", secret),
        ("patch", "secrets", secret), ("delete", "secrets", secret), ("get", "leases", "another"),
        ("update", "leases", "another"), ("create", "pods", None), ("get", "pods", None),
    }
    # A right without a name is one to every name.
    others -= {right for right in others if (*right[:2], None) in rights}
    asked = sorted(rights | others, key=str)
    done = server.run("create", "-o", "yaml", "-f", "-", objects=[review(namespace, account, r) for r in asked])
    for right, answer in zip(asked, load(done.stdout), strict=True):
        if answer["status"].get("allowed", False) != (right in rights):
            yield f"{account} {'may' if right in others else 'may not'} {right}"


def review(namespace, account, right):
    verb, resource, name = right
    attributes = {"namespace": namespace, "verb": verb, "resource": resource, "name": name or ""}
    attributes["group"] = "coordination.k8s.io" if resource == "leases" else ""
    user = f"system:serviceaccount:{namespace}:{account}"
    spec = {"user": user, "groups": ["system:serviceaccounts"], "resourceAttributes": attributes}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def admits_anything(server, namespace):
    """Whether 'restricted' is in force here: a pod that is root has to be refused."""
    root = {"containers": [{"name": "a", "image": "a:1", "securityContext": {"runAsUser": 0}}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": namespace}, "spec": root}
    if "violates PodSecurity" not in server.dry_run([pod]).stderr:
        yield f"{server.called} admits what 'restricted' forbids: nothing was proved"
