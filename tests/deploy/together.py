"""What has to agree between objects: names that are used and names that are there, rights
and settings, ports, users and the access policy. Reads settings as TOML, and leaves it to
dlconf itself (`binary.py`) to say whether they are settings."""

import tomllib

import pods
import rotator

# The cluster makes it in every namespace.
OF_THE_CLUSTER = {("ConfigMap", "kube-root-ca.crt")}
# What a person makes before: docs/kubernetes.md has the commands.
YOU_BRING = {
    ("Secret", "datalens-api"),
    ("Secret", "datalens-cc"),
    ("Secret", "datalens-cc-admin"),
    ("Secret", "datalens-cc-portal"),
    ("Secret", "datalens-portal"),
    ("Secret", "datalens-migrate"),
    ("Secret", "dlconf-snapshot-key"),
    ("ConfigMap", "vault-ca"),
}
# The chart brings no configuration, and neither do the migrations, which go on top of
# the production overlay.
BROUGHT_FOR = {
    "migrate": {("ConfigMap", "datalens-api")},
    "rotator": {("ConfigMap", "datalens-api"), ("ConfigMap", "datalens-cc")},
    "rotator, Vault": {("ConfigMap", "datalens-api"), ("ConfigMap", "datalens-cc")},
    "chart, cc": {("ConfigMap", "datalens-api"), ("ConfigMap", "datalens-cc")},
    "chart, vault": {("ConfigMap", "datalens-api"), ("ConfigMap", "datalens-cc")},
    "chart, small": {("ConfigMap", "shop"), ("ConfigMap", "shop-schema")},
}
READ = {"get", "list", "watch"}


def selects(selector, labels):
    """Of match labels only: nothing here uses expressions."""
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def files(rendered, spec):
    """What is mounted in /etc/dlconf, by file name: from the ConfigMaps that are rendered."""
    volume = pods.mounts_at(pods.dlconf(spec), "/etc/dlconf")
    found = {}
    for v in spec["volumes"]:
        if v["name"] != volume:
            continue
        sources = v["projected"]["sources"] if "projected" in v else [v]
        for source in sources:
            config_map = rendered.one("ConfigMap", source["configMap"]["name"])
            found.update((config_map or {}).get("data", {}))
    return found


def deployed(rendered):
    """Each pod that has a dlconf: its name, its spec, its settings, its policy."""
    for name, template in pods.templates(rendered):
        if pods.dlconf(template["spec"]):
            held = files(rendered, template["spec"])
            settings = tomllib.loads(held.get("dlconf.toml", ""))
            policy = tomllib.loads(held.get("access.toml", ""))
            yield name, template, settings, policy


def sources(settings, kind):
    return [s for s in settings.get("source", {}).values() if s.get("type") == kind]


def of_rights(rendered):
    for o in rendered.of("ClusterRole", "ClusterRoleBinding", "Secret"):
        yield f"there is a {o['kind']}, {o['metadata']['name']}"
    rotators, acknowledging = set(), set()
    for _, template, settings, _ in deployed(rendered):
        account = template["spec"].get("serviceAccountName")
        if rotator.rotates(settings):
            rotators.add(account)
        if rotator.leases_of(template["spec"], settings).startswith("leases/"):
            acknowledging.add(account)
    for role in rendered.of("Role"):
        name = role["metadata"]["name"]
        held = {
            s["name"] for b in rendered.of("RoleBinding") if b["roleRef"]["name"] == name for s in b["subjects"]
        }
        for rule in role["rules"]:
            # Bound to nobody it would be somebody's soon.
            words = rotator.excess(rule, bool(held) and held <= rotators, bool(held) and held <= acknowledging)
            if words:
                yield f"Role {name} {words}"
    accounts = {o["metadata"]["name"] for o in rendered.of("ServiceAccount")}
    for o in rendered.of("ServiceAccount"):
        if o.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {o['metadata']['name']} mounts its token everywhere"
    for binding in rendered.of("RoleBinding"):
        name = binding["metadata"]["name"]
        if not rendered.one("Role", binding["roleRef"]["name"]) or binding["roleRef"]["kind"] != "Role":
            yield f"RoleBinding {name} binds no Role of these"
        for subject in binding["subjects"]:
            if subject["kind"] != "ServiceAccount" or subject["name"] not in accounts:
                yield f"RoleBinding {name} is for somebody else"
    for name, template in pods.templates(rendered):
        if template["spec"].get("serviceAccountName") not in accounts:
            yield f"{name}: its service account is not there"


def rights_of(rendered, account):
    """What an account may: (verb, resource, name), where no name is every name."""
    for binding in rendered.of("RoleBinding"):
        if any(s["name"] == account for s in binding["subjects"]):
            for rule in (rendered.one("Role", binding["roleRef"]["name"]) or {"rules": []})["rules"]:
                for verb in rule["verbs"]:
                    for resource in rule["resources"]:
                        for name in rule.get("resourceNames") or [None]:
                            yield verb, resource, name


def of_names(rendered):
    """Every name that is used is rendered, made by the cluster, or listed as yours."""
    brought = YOU_BRING | OF_THE_CLUSTER | BROUGHT_FOR.get(rendered.name, set())
    for name, template in pods.templates(rendered):
        spec = template["spec"]
        used = set()
        for volume in spec.get("volumes", []):
            for source in [volume, *volume.get("projected", {}).get("sources", [])]:
                if "configMap" in source:
                    used.add(("ConfigMap", source["configMap"]["name"]))
                if "secret" in source:
                    used.add(("Secret", source["secret"].get("secretName") or source["secret"].get("name")))
        held = {v["name"] for v in spec.get("volumes", [])}
        for container in pods.containers(spec):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in held:
                    yield f"{name}/{container['name']}: there is no volume {mount['name']}"
        for _, _, settings, _ in (d for d in deployed(rendered) if d[0] == name):
            for source in sources(settings, "kubernetes"):
                used |= {("Secret", s) for s in source.get("secrets", [])}
                used |= {("ConfigMap", c) for c in source.get("config_maps", [])}
        for kind, wanted in sorted(used):
            if not rendered.one(kind, wanted) and (kind, wanted) not in brought:
                yield f"{name}: {kind} {wanted} is neither there nor listed as yours"


def of_agreement(rendered):
    """Settings, rights, users, ports: what one says the other has to say as well."""
    for name, template, settings, policy in deployed(rendered):
        yield from (f"{name}: {wrong}" for wrong in agreement(rendered, template["spec"], settings, policy))


def agreement(rendered, spec, settings, policy):
    dlconf = pods.dlconf(spec)
    yield from rotator.of_settings(spec, settings)
    yield from rotator.of_policy(spec, settings, policy)
    wanted = set()
    for source in sources(settings, "kubernetes"):
        wanted |= {(v, "secrets", n) for v in READ for n in source.get("secrets", [])}
        wanted |= {(v, "configmaps", n) for v in READ for n in source.get("config_maps", [])}
    wanted |= rotator.needs(spec, settings, {n for s in sources(settings, "kubernetes") for n in s.get("secrets", [])})
    for container in spec["containers"]:
        for argument in container.get("args", []):
            if argument.startswith("--restart-lock=lease/"):
                lease = argument.removeprefix("--restart-lock=lease/")
                wanted |= {("get", "leases", lease), ("update", "leases", lease), ("create", "leases", None)}
                if not any(t for t in pods.tokens(spec) if pods.mounts(container, t[0])):
                    yield "the restart lock has no token"
    rights = set(rights_of(rendered, spec.get("serviceAccountName")))
    for verb, resource, name in sorted(wanted - rights, key=str):
        yield f"nothing permits {verb} {resource} {name}"
    for verb, resource, name in sorted(rights - wanted, key=str):
        yield f"nothing needs {verb} {resource} {name}"
    asks = bool(sources(settings, "kubernetes"))
    has = any("audience" not in t and pods.mounts(dlconf, v) for v, t in pods.tokens(spec))
    if asks != has:
        yield "dlconf has a token for the API server and no use for it, or the other way round"
    for vault in sources(settings, "vault"):
        token = vault["auth"]["token_file"].rsplit("/", 1)[0]
        held = pods.mounts_at(dlconf, token)
        if not any(v == held and "audience" in t for v, t in pods.tokens(spec)):
            yield "Vault's token_file is none with an audience of its own"

    variables = {v["name"]: v.get("value") for v in dlconf.get("env", [])}
    environment = variables.get("DLCONF_ENV") or settings.get("environment")
    if environment not in ("development", "staging", "production"):
        yield "nothing says which environment it is"
    socket = settings.get("socket", {})
    if variables.get("DLCONF_SOCKET") != socket.get("path"):
        yield "DLCONF_SOCKET, for the probes, is not the socket of the settings"
    if socket.get("mode") != "0660" or socket.get("policy") != "/etc/dlconf/access.toml":
        yield "the socket is not for its group alone, or has no policy"
    ports = {p["name"]: p["containerPort"] for p in dlconf.get("ports", [])}
    listen = settings.get("ops", {}).get("listen")
    if (listen and int(listen.rsplit(":", 1)[1])) != ports.get("dlconf-metrics"):
        yield "the ops port of the settings is not the container's"
    state = settings.get("snapshot", {}).get("path", "/var/lib/dlconf/none").rsplit("/", 1)[0]
    if settings.get("snapshot") and not pods.mounts_at(dlconf, state):
        yield "the snapshot lies nowhere"

    allowed = {rule.get("uid") for rule in policy.get("allow", [])}
    for container in [] if pods.alone(spec) else spec["containers"]:
        if container["securityContext"].get("runAsUser") not in allowed:
            yield f"the policy does not name the user of {container['name']}"
        options = dict(a[2:].split("=", 1) for a in container["args"] if a.startswith("--") and "=" in a)
        if options.get("socket") != socket.get("path"):
            yield f"{container['name']} asks at another socket"
        own = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
        healthy = options.get("healthy", "")
        if healthy and f":{own.get('http')}/" not in healthy:
            yield f"--healthy of {container['name']} asks another port"
        for source in sources(settings, "kubernetes"):
            maps = [rendered.one("ConfigMap", m) or {} for m in source.get("config_maps", [])]
            said = [m["data"]["APP_PORT"] for m in maps if "APP_PORT" in m.get("data", {})]
            if "http" in own and said and said[-1] != str(own["http"]):
                yield f"APP_PORT is {said[-1]}, and the container's port is {own['http']}"


def of_network(rendered):
    for name, template in pods.templates(rendered):
        labels = template["metadata"]["labels"]
        policies = rendered.of("NetworkPolicy")
        policies = [p for p in policies if selects(p["spec"]["podSelector"]["matchLabels"], labels)]
        closed = {t for p in policies for t in p["spec"]["policyTypes"]}
        # `small` of the chart leaves it out, to show that one can.
        if closed != {"Ingress", "Egress"} and rendered.name != "chart, small":
            yield f"{name}: no NetworkPolicy closes {', '.join(sorted({'Ingress', 'Egress'} - closed))}"
    labels = {name: t["metadata"]["labels"] for name, t in pods.templates(rendered)}
    ports = {
        name: {p.get("name") for c in pods.containers(t["spec"]) for p in c.get("ports", [])}
        for name, t in pods.templates(rendered)
    }
    for service in rendered.of("Service"):
        hit = [n for n, l in labels.items() if selects(service["spec"]["selector"], l)]
        if len(hit) != 1:
            yield f"Service {service['metadata']['name']} is for {len(hit)} programs"
        for port in service["spec"]["ports"]:
            if not all(port["targetPort"] in ports[n] for n in hit):
                yield f"Service {service['metadata']['name']} leads to no port"
    for budget in rendered.of("PodDisruptionBudget"):
        hit = [n for n, l in labels.items() if selects(budget["spec"]["selector"]["matchLabels"], l)]
        if len(hit) != 1:
            yield f"PodDisruptionBudget {budget['metadata']['name']} is for {len(hit)} programs"
    for deployment in rendered.of("Deployment"):
        name = deployment["metadata"]["name"]
        budgets = rendered.of("PodDisruptionBudget")
        budgets = [b for b in budgets if selects(b["spec"]["selector"]["matchLabels"], labels[name])]
        # Nobody waits for a rotator that moves.
        if len(budgets) != (0 if pods.alone(deployment["spec"]["template"]["spec"]) else 1):
            yield f"{name} has {len(budgets)} PodDisruptionBudgets"
        hit = [n for n, l in labels.items() if selects(deployment["spec"]["selector"]["matchLabels"], l)]
        if hit != [name]:
            yield f"{name} would own the pods of {', '.join(hit)}"
    for monitor in rendered.of("PodMonitor"):
        hit = [n for n, l in labels.items() if selects(monitor["spec"]["selector"]["matchLabels"], l)]
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if not hit or not all(endpoint["port"] in ports[n] for n in hit):
                yield f"PodMonitor {monitor['metadata']['name']} reads no port"


def of_namespace(rendered):
    spaces = {o["metadata"].get("namespace") for o in rendered.objects if o["kind"] != "Namespace"}
    if len(spaces) != 1 or None in spaces:
        yield f"it is spread over the namespaces {sorted(map(str, spaces))}"
    for namespace in rendered.of("Namespace"):
        if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "its namespace does not enforce 'restricted'"
        if {namespace["metadata"]["name"]} != spaces:
            yield "it lies in another namespace than the one that it makes"


RULES = [pods.of_pods, of_rights, of_names, of_agreement, of_network, of_namespace]


def wrong(rendered):
    return [problem for rule in RULES for problem in rule(rendered)]
