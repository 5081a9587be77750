"""What every pod and container here promises. Each rule gives what is wrong, in words;
nothing is read but the objects. Settings and policies are looked at in `together.py`."""

RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SIDECAR = "dlconf"


def templates(rendered):
    for o in rendered.of("Deployment", "Job", "StatefulSet", "DaemonSet", "CronJob", "Pod"):
        if o["kind"] == "Pod":
            yield o["metadata"]["name"], o
        elif o["kind"] == "CronJob":
            yield o["metadata"]["name"], o["spec"]["jobTemplate"]["spec"]["template"]
        else:
            yield o["metadata"]["name"], o["spec"]["template"]


def containers(spec):
    return spec.get("initContainers", []) + spec.get("containers", [])


def sidecar(spec):
    return next((c for c in spec.get("initContainers", []) if c["name"] == SIDECAR), None)


def alone(spec):
    """dlconf in a pod of its own, which serves nobody: the rotator."""
    only = spec["containers"][0] if len(containers(spec)) == 1 else {}
    return only if only.get("name") == SIDECAR else None


def dlconf(spec):
    return sidecar(spec) or alone(spec)


def starts_by_dlconf(container):
    """The containers in which dlconf starts the program."""
    return (container.get("args") or [""])[0] == "run"


def mounts(container, volume):
    return [m for m in container.get("volumeMounts", []) if m["name"] == volume]


def mounts_at(container, path):
    """The volume that is mounted exactly there."""
    return next((m["name"] for m in container.get("volumeMounts", []) if m["mountPath"] == path), None)


def tokens(spec):
    """Volumes with a token of the pod's account, and their sources of it."""
    for volume in spec.get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            if "serviceAccountToken" in source:
                yield volume["name"], source["serviceAccountToken"]


def of_pods(rendered):
    for name, template in templates(rendered):
        spec = template["spec"]
        yield from (f"{name}: {wrong}" for wrong in of_pod(spec))
        yield from (f"{name}: {wrong}" for wrong in of_dlconf(spec))
        yield from (f"{name}: {wrong}" for wrong in of_tokens(spec))
        for container in containers(spec):
            yield from (f"{name}/{container['name']}: {wrong}" for wrong in of_container(container))


def of_pod(spec):
    if spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false: every container would get a token"
    if spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false: REDIS_PORT=tcp://… for the program"
    if spec.get("serviceAccountName", "default") == "default":
        yield "it has no service account of its own"
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "there is no seccompProfile"
    if context.get("sysctls") or context.get("windowsOptions"):
        yield "sysctls or windowsOptions are set"
    if context.get("runAsUser") == 0 or 0 in context.get("supplementalGroups", []) or context.get("fsGroup") == 0:
        yield "it is root, or of root's group"
    for field in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        if spec.get(field):
            yield f"{field} is true"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= RESTRICTED_VOLUMES:
            yield f"volume {volume['name']} is of a kind that 'restricted' refuses"
        if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
            yield f"volume {volume['name']} has no sizeLimit"
        if not any(mounts(c, volume["name"]) for c in containers(spec)):
            yield f"volume {volume['name']} is mounted nowhere"
    if any("--watch" in (c.get("args") or []) for c in spec["containers"]):
        # What `dlconf run` gives the program to drain, unless it is told otherwise.
        if spec.get("terminationGracePeriodSeconds", 30) <= 30:
            yield "terminationGracePeriodSeconds is not longer than --kill-timeout"


def of_container(container):
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or capabilities.get("add"):
        yield "capabilities are not dropped"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    if context.get("privileged") or context.get("procMount", "Default") != "Default":
        yield "it is privileged"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield "seccomp is off"
    # 65534 is what the kernel says of users whom it cannot name: no policy may name it.
    if not context.get("runAsUser") or context["runAsUser"] == 65534:
        yield "it has no user of its own"
    image = container.get("image", "")
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if "@sha256:" not in image and tag in ("", "latest"):
        yield f"image {image} is not pinned"
    resources = container.get("resources", {})
    if {"cpu", "memory"} - set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
        yield "resources lack requests, or the limit of memory"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "it takes a port of the node"
    if any(m.get("subPath") or m.get("subPathExpr") for m in container.get("volumeMounts", [])):
        yield "a subPath mount never changes while the container runs"
    if {"seLinuxOptions", "appArmorProfile", "windowsOptions"} & set(context):
        yield "it changes what confines it"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "host" in container.get(probe, {}).get("httpGet", {}):
            yield f"its {probe} asks another host"
    if container.get("envFrom") or any("secretKeyRef" in v.get("valueFrom", {}) for v in container.get("env", [])):
        yield "it takes values past dlconf (envFrom, secretKeyRef): unjudged, and never anew"


def of_dlconf(spec):
    own = dlconf(spec)
    if own is None:
        yield "there is no dlconf beside it"
        return
    if not alone(spec) and own.get("restartPolicy") != "Always":
        yield "dlconf is no native sidecar (restartPolicy: Always)"
    yield from of_daemon(spec, own)
    if not alone(spec):
        yield from of_programs(spec, own)
    for volume in spec.get("volumes", []):
        live = [m for m in mounts(own, volume["name"]) if m["mountPath"].startswith("/run/")]
        if "emptyDir" in volume and live and volume["emptyDir"].get("medium") != "Memory":
            yield f"volume {volume['name']} is dlconf's under /run and not in memory"


def of_daemon(spec, dlconf):
    if dlconf.get("command") != ["/dlconf"] or dlconf.get("args", [])[-1:] != ["daemon"]:
        yield "dlconf does not run as a daemon"
    if dlconf.get("startupProbe", {}).get("exec", {}).get("command") != ["/dlconf", "health", "--ready"]:
        yield "no startup probe of dlconf holds the program back"
    if dlconf.get("livenessProbe", {}).get("exec", {}).get("command") != ["/dlconf", "health", "--live"]:
        yield "dlconf's liveness is not about its own loop"
    if "readinessProbe" in dlconf:
        yield "dlconf has a readiness probe: a source that is away would take the program out of service"
    group = dlconf.get("securityContext", {}).get("runAsGroup")
    if group is None or spec.get("securityContext", {}).get("fsGroup") != group:
        yield "dlconf's group is not the pod's fsGroup: the program could not connect"


def of_programs(spec, dlconf):
    """The containers that it serves."""
    user = dlconf.get("securityContext", {}).get("runAsUser")
    installed = [c for c in spec["initContainers"] if (c.get("args") or [""])[0] == "install"]
    for container in spec["containers"]:
        if container.get("securityContext", {}).get("runAsUser") == user:
            yield f"{container['name']} runs as dlconf's user, which may everything of it"
        if not starts_by_dlconf(container):
            yield f"{container['name']} is not started by dlconf"
            continue
        program = container["command"][0]
        if not any(c["args"][1:] == [program] for c in installed):
            yield f"nothing installs {program}"
        if "--" not in container["args"] or container["args"][-1] == "--":
            yield f"{container['name']} names no program behind --"
        for mount in container.get("volumeMounts", []):
            shared = mounts(dlconf, mount["name"]) or any(mounts(c, mount["name"]) for c in installed)
            if shared and mount.get("readOnly") is not True:
                yield f"{container['name']} may write to {mount['mountPath']}, which is dlconf's"


def of_tokens(spec):
    own = dlconf(spec) or {}
    for volume, token in tokens(spec):
        if token.get("expirationSeconds", 3600) > 3600:
            yield f"the token in {volume} lives for more than an hour"
        for container in containers(spec):
            mounted = mounts(container, volume)
            if not mounted:
                continue
            if any(m.get("readOnly") is not True for m in mounted):
                yield f"{container['name']} may write to {volume}"
            if ("audience" in token) == any(m["mountPath"] == ACCOUNT for m in mounted):
                yield f"{container['name']} mounts {volume} where a token of another audience is looked for"
            locks = any(a.startswith("--restart-lock=") for a in container.get("args") or [])
            # One volume for two containers would be one token for two purposes.
            if container is not own and ("audience" in token or not locks or mounts(own, volume)):
                yield f"{container['name']} has the token in {volume}, which is not for it"
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            for container in containers(spec):
                if mounts(container, volume["name"]) and container is not own:
                    yield f"{container['name']} mounts Secret {volume['secret']['secretName']}"
