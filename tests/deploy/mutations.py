"""Proof that the rules can fail: each entry breaks one thing of what is deployed, as a
careless change would, and says which words have to come of it."""

import copy

import pods

DEPLOYMENT = "datalens-cc"
LOCK = "--restart-lock=lease/"


def pod(r):
    return r.one("Deployment", DEPLOYMENT)["spec"]["template"]["spec"]


def api(r):
    return pod(r)["containers"][0]


def dlconf(r):
    return pods.sidecar(pod(r))


def volume(r, name):
    return next(v for v in pod(r)["volumes"] if v["name"] == name)


def mount(container, name):
    return next(m for m in container["volumeMounts"] if m["name"] == name)


def token(r, name):
    return volume(r, name)["projected"]["sources"][0]["serviceAccountToken"]


def also_mount(container, name, path):
    container["volumeMounts"].append({"name": name, "mountPath": path, "readOnly": True})


def role(r):
    return r.one("Role", DEPLOYMENT)


def settings(r, old, new):
    for o in r.of("ConfigMap"):
        if o["metadata"]["name"].startswith("dlconf-settings-cc"):
            assert old in o["data"]["dlconf.toml"], f"the settings have no {old}"
            o["data"]["dlconf.toml"] = o["data"]["dlconf.toml"].replace(old, new)


def policy(r, old, new):
    for o in r.of("ConfigMap"):
        if o["metadata"]["name"].startswith("dlconf-access"):
            assert old in o["data"]["access.toml"], f"the policy has no {old}"
            o["data"]["access.toml"] = o["data"]["access.toml"].replace(old, new)


def without(r, kind, name):
    r.objects[:] = [o for o in r.objects if not (o["kind"] == kind and o["metadata"]["name"] == name)]


def replaced(items, old, new):
    items[items.index(old)] = new


# What is broken, and what has to be said of it.
MUTATIONS = [
    (lambda r: pod(r).pop("automountServiceAccountToken"), "automountServiceAccountToken is not false"),
    (lambda r: pod(r).pop("enableServiceLinks"), "enableServiceLinks is not false"),
    (lambda r: pod(r).pop("serviceAccountName"), "no service account of its own"),
    (lambda r: pod(r)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot is not true"),
    (lambda r: pod(r)["securityContext"].pop("seccompProfile"), "no seccompProfile"),
    (lambda r: pod(r).update(hostNetwork=True), "hostNetwork is true"),
    (lambda r: pod(r).update(shareProcessNamespace=True), "shareProcessNamespace is true"),
    (lambda r: pod(r)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "'restricted' refuses"),
    (lambda r: volume(r, "tmp")["emptyDir"].pop("sizeLimit"), "has no sizeLimit"),
    (lambda r: pod(r)["volumes"].append({"name": "x", "emptyDir": {"sizeLimit": "1Mi"}}), "is mounted nowhere"),
    (lambda r: pod(r).update(terminationGracePeriodSeconds=30), "not longer than --kill-timeout"),
    (lambda r: api(r)["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
    (lambda r: api(r)["securityContext"].pop("capabilities"), "capabilities are not dropped"),
    (
        lambda r: dlconf(r)["securityContext"]["capabilities"].update(add=["SYS_PTRACE"]),
        "capabilities are not dropped",
    ),
    (lambda r: api(r)["securityContext"].pop("readOnlyRootFilesystem"), "readOnlyRootFilesystem"),
    (lambda r: api(r)["securityContext"].pop("runAsUser"), "no user of its own"),
    (lambda r: api(r).update(image="datalens-api"), "is not pinned"),
    (lambda r: api(r).update(image="registry:5000/datalens-api:latest"), "is not pinned"),
    (lambda r: api(r)["resources"].pop("limits"), "resources lack"),
    (lambda r: mount(api(r), "tmp").update(subPath="x"), "a subPath mount never changes"),
    (lambda r: api(r)["securityContext"].update(appArmorProfile={"type": "Unconfined"}), "what confines it"),
    (lambda r: api(r)["livenessProbe"]["httpGet"].update(host="10.0.0.1"), "asks another host"),
    (lambda r: api(r).update(envFrom=[{"secretRef": {"name": "datalens-api"}}]), "past dlconf"),
    (lambda r: pod(r)["initContainers"].remove(dlconf(r)), "no dlconf beside it"),
    (lambda r: dlconf(r).pop("restartPolicy"), "no native sidecar"),
    (lambda r: dlconf(r).update(args=["--help"]), "does not run as a daemon"),
    (lambda r: dlconf(r).update(readinessProbe=dlconf(r).pop("startupProbe")), "no startup probe"),
    (
        lambda r: dlconf(r)["livenessProbe"]["exec"].update(command=["/dlconf", "health", "--ready"]),
        "its own loop",
    ),
    (lambda r: dlconf(r)["securityContext"].update(runAsGroup=10100), "is not the pod's fsGroup"),
    (lambda r: api(r)["securityContext"].update(runAsUser=10100), "runs as dlconf's user"),
    (lambda r: api(r).update(command=["/app/api"], args=["--mode=cc"]), "is not started by dlconf"),
    (lambda r: pod(r)["initContainers"].pop(), "nothing installs"),
    (lambda r: mount(api(r), "dlconf-socket").pop("readOnly"), "may write to /run/dlconf"),
    (lambda r: mount(api(r), "dlconf-program").pop("readOnly"), "may write to /opt/dlconf"),
    (lambda r: volume(r, "dlconf-socket")["emptyDir"].pop("medium"), "not in memory"),
    (lambda r: token(r, "dlconf-token").update(expirationSeconds=86400), "more than an hour"),
    (lambda r: mount(api(r), "restart-token").update(name="dlconf-token"), "which is not for it"),
    (lambda r: also_mount(api(r), "vault-token", "/v"), "which is not for it"),
    (lambda r: mount(dlconf(r), "vault-token").update(mountPath=pods.ACCOUNT), "of another audience"),
    (lambda r: also_mount(api(r), "dlconf-snapshot-key", "/k"), "mounts Secret"),
    (lambda r: r.objects.append({"kind": "ClusterRole", "metadata": {"name": "x"}}), "there is a ClusterRole"),
    (lambda r: r.objects.append({"kind": "Secret", "metadata": {"name": "x"}}), "there is a Secret"),
    (lambda r: role(r)["rules"][0].pop("resourceNames"), "more than read named"),
    (lambda r: role(r)["rules"][0]["verbs"].append("update"), "more than read named"),
    (lambda r: role(r)["rules"][0].update(verbs=["*"]), "has a *"),
    (lambda r: role(r)["rules"][0].update(resources=["pods"]), "is about pods"),
    (lambda r: r.one("Role", "datalens-cc-restart")["rules"][0]["verbs"].append("delete"), "more with Leases"),
    (
        lambda r: r.one("ServiceAccount", DEPLOYMENT).pop("automountServiceAccountToken"),
        "mounts its token everywhere",
    ),
    (lambda r: without(r, "ServiceAccount", DEPLOYMENT), "its service account is not there"),
    (lambda r: r.one("RoleBinding", DEPLOYMENT)["subjects"][0].update(name="default"), "is for somebody else"),
    (lambda r: r.one("RoleBinding", DEPLOYMENT)["roleRef"].update(name="other"), "binds no Role"),
    (lambda r: role(r)["rules"][0]["resourceNames"].append("another"), "nothing needs get configmaps another"),
    (lambda r: role(r)["rules"][0]["resourceNames"].pop(), "nothing permits"),
    (
        lambda r: replaced(api(r)["args"], LOCK + "datalens-cc-restart", LOCK + "other"),
        "nothing permits get leases other",
    ),
    (lambda r: api(r)["volumeMounts"].remove(mount(api(r), "restart-token")), "the restart lock has no token"),
    (lambda r: settings(r, '"datalens-cc"]', '"datalens-ccc"]'), "ConfigMap datalens-ccc is neither there nor"),
    (
        lambda r: volume(r, "vault-token")["projected"]["sources"][1]["configMap"].update(name="ca"),
        "ConfigMap ca is neither there nor",
    ),
    (lambda r: mount(api(r), "tmp").update(name="temp"), "there is no volume temp"),
    (
        lambda r: settings(r, "/var/run/secrets/vault/token", pods.ACCOUNT + "/token"),
        "none with an audience of its own",
    ),
    (lambda r: dlconf(r)["env"].pop(0), "nothing says which environment"),
    (lambda r: settings(r, 'mode = "0660"', 'mode = "0666"'), "is not for its group alone"),
    (lambda r: settings(r, "/run/dlconf/dlconf.sock", "/run/dlconf/other.sock"), "asks at another socket"),
    (lambda r: settings(r, ":9470", ":9471"), "the ops port"),
    (lambda r: settings(r, "/var/lib/dlconf/", "/var/lib/other/"), "the snapshot lies nowhere"),
    (lambda r: policy(r, "10001", "10100"), "names dlconf's own user"),
    (lambda r: policy(r, "10001", "10009"), "does not name the user of api"),
    (lambda r: api(r)["ports"][0].update(containerPort=8888), "--healthy of api asks another port"),
    (lambda r: r.one("ConfigMap", "datalens-cc")["data"].update(APP_PORT="9999"), "APP_PORT is 9999"),
    (
        lambda r: without(r, "NetworkPolicy", "dlconf") or without(r, "NetworkPolicy", "datalens-api"),
        "no NetworkPolicy closes",
    ),
    (
        lambda r: r.one("Service", DEPLOYMENT)["spec"]["selector"].pop("app.kubernetes.io/component"),
        "is for 3 programs",
    ),
    (lambda r: r.one("Service", DEPLOYMENT)["spec"]["ports"][0].update(targetPort="web"), "leads to no port"),
    (lambda r: without(r, "PodDisruptionBudget", DEPLOYMENT), "has 0 PodDisruptionBudgets"),
    (
        lambda r: r.one("PodMonitor", "dlconf")["spec"]["podMetricsEndpoints"][0].update(port="metrics"),
        "reads no port",
    ),
    (lambda r: role(r)["metadata"].update(namespace="other"), "is spread over the namespaces"),
    (lambda r: r.one("Namespace", "datalens")["metadata"]["labels"].clear(), "does not enforce 'restricted'"),
]


def turner(r):
    return r.one("Deployment", "dlconf-rotator")["spec"]["template"]["spec"]


def of_map(r, start, file, old, new):
    for o in r.of("ConfigMap"):
        if o["metadata"]["name"].startswith(start):
            assert old in o["data"][file], f"{start} has no {old}"
            o["data"][file] = o["data"][file].replace(old, new)


def turns(r, old, new):
    of_map(r, "dlconf-settings-rotator", "dlconf.toml", old, new)


def unset(r, name):
    dlconf(r)["env"].remove(next(v for v in dlconf(r)["env"] if v["name"] == name))


def rights(r, at):
    return r.one("Role", "dlconf-rotator")["rules"][at]


# The same, of the rotator and of those who acknowledge to it.
OF_ROTATOR = [
    (lambda r: rights(r, 0)["verbs"].append("update"), "more than read named"),
    (lambda r: rights(r, 0).pop("resourceNames"), "more than read named"),
    (lambda r: rights(r, 1)["verbs"].append("patch"), "more than read named"),
    (lambda r: rights(r, 0)["verbs"].remove("patch"), "nothing permits patch secrets datalens-api"),
    (lambda r: rights(r, 0)["resourceNames"].append("another"), "nothing needs patch secrets another"),
    (lambda r: rights(r, 4)["verbs"].append("watch"), "more with Leases"),
    (lambda r: rights(r, 4)["verbs"].remove("list"), "nothing permits list leases None"),
    (lambda r: rights(r, 2)["verbs"].append("delete"), "more with Leases"),
    (lambda r: turns(r, "lease/dlconf-rotator", "lease/other"), "nothing permits get leases other"),
    (lambda r: turns(r, 'leader = "lease/dlconf-rotator"', ""), "would not know of each other"),
    (lambda r: turns(r, 'acknowledgements = "leases/dlconf"', ""), "nobody tells the rotator"),
    (lambda r: turns(r, "enabled = true", "enabled = false"), "may more than read named"),
    (lambda r: turns(r, "10:00-16:00 +05:30", "10-16 IST"), "is none"),
    (lambda r: turns(r, "[source.cluster]", 'service = "cc"\n[source.cluster]'), "for one service only"),
    (
        lambda r: of_map(r, "dlconf-settings-rotator", "access.toml", '["status"', '["read", "status"'),
        "more than to turn keys",
    ),
    (
        lambda r: of_map(r, "dlconf-settings-rotator", "access.toml", "10100", "10001"),
        "more than to turn keys",
    ),
    (lambda r: turner(r)["containers"].append({**turner(r)["containers"][0], "name": "x"}), "no dlconf beside it"),
    (lambda r: turner(r)["containers"][0].pop("livenessProbe"), "its own loop"),
    (lambda r: turner(r)["containers"][0]["securityContext"].pop("capabilities"), "capabilities are not dropped"),
]
OF_READERS = [
    (
        lambda r: settings(r, 'service = "cc"', 'service = "cc"\nrotation.enabled = true'),
        "beside a program may write secrets",
    ),
    (lambda r: unset(r, "DLCONF_ROTATION__ACKNOWLEDGEMENTS"), "nothing needs get leases None"),
    (lambda r: role(r)["rules"][0]["verbs"].append("patch"), "more than read named"),
    (lambda r: r.one("Role", "dlconf-acknowledge")["rules"][0]["verbs"].append("list"), "more with Leases"),
    (lambda r: r.one("Role", "dlconf-acknowledge")["rules"][0]["verbs"].remove("update"), "nothing permits update leases None"),
    (lambda r: policy(r, '"acknowledge"', '"acknowledge", "rotate"'), "rotate where nothing rotates"),
]


def unseen(whole, wrong, mutations=None):
    """The mutations of a stack with all components that the rules do not see."""
    for number, (mutate, words) in enumerate(mutations or MUTATIONS, 1):
        broken = copy.deepcopy(whole)
        mutate(broken)
        said = wrong(broken)
        if not any(words in problem for problem in said):
            yield f"mutation {number} ({words}) is not seen: {said or 'nothing is said'}"


# What a rotator's settings say of the programs that is not so.
ASTRAY = [
    (lambda rotators, _: turns(rotators, "[consumer.portal]", "[consumer.agent]"), "nobody expects portal"),
    (lambda rotators, _: turns(rotators, "instances = 3", "instances = 2"), "has 3 replicas, and 2"),
    (lambda rotators, _: turns(rotators, '"single"', '"ring"'), "verifies with one key"),
    (lambda rotators, _: turns(rotators, '"datalens-cc-admin", ', ""), "reads secrets that the rotator does not"),
    (lambda rotators, _: turns(rotators, "leases/dlconf", "leases/other"), "does not listen"),
    (lambda rotators, _: turns(rotators, '"smtp.example.com", ', ""), "may be tried on SMTP_HOST"),
]


def astray(rotators, readers, wrong):
    for number, (mutate, words) in enumerate(ASTRAY, 1):
        broken = copy.deepcopy(rotators), copy.deepcopy(readers)
        mutate(*broken)
        said = wrong(*broken)
        if not any(words in problem for problem in said):
            yield f"mutation {number} of what is rotated ({words}) is not seen: {said or 'nothing is said'}"


COUNT = sum(map(len, (MUTATIONS, OF_ROTATOR, OF_READERS, ASTRAY)))
