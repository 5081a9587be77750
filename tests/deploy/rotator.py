"""What is promised of rotations: one dlconf may write, the others only say what their
programs use, and what its settings say of them is true of the overlay that they run in."""

import re

import pods

# Of everybody who says which keys a program uses, and of the one who listens. The names of
# these Leases hold those of pods, so nobody knows them before.
SAYS = {"create", "get", "update"}
LISTENS = SAYS | {"list", "delete"}
# What whoever executes in the rotator's pod may; never `read`.
TURNS = {"status", "rotate", "forget"}
DAY = "(Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
WINDOW = re.compile(rf"{DAY}(-{DAY})? \d\d:\d\d-\d\d:\d\d( [+-]\d\d:\d\d)?")


def rotates(settings):
    return settings.get("rotation", {}).get("enabled") is True


def leases_of(spec, settings):
    """Where acknowledgements are: the settings' own, or the variable's of a component."""
    variables = {v["name"]: v.get("value") for v in pods.dlconf(spec).get("env", [])}
    said = variables.get("DLCONF_ROTATION__ACKNOWLEDGEMENTS")
    return said or settings.get("rotation", {}).get("acknowledgements", "local")


def needs(spec, settings, secrets):
    """The rights that rotation adds to those of reading."""
    wanted = set()
    if rotates(settings):
        wanted |= {("patch", "secrets", name) for name in secrets}
        leader = settings["rotation"].get("leader", "none").removeprefix("lease/")
        if leader != "none":
            wanted |= {("get", "leases", leader), ("update", "leases", leader), ("create", "leases", None)}
    if leases_of(spec, settings).startswith("leases/"):
        wanted |= {(verb, "leases", None) for verb in (LISTENS if rotates(settings) else SAYS)}
    return wanted


def excess(rule, is_rotators, acknowledges):
    """What a rule of a Role permits that is nobody's, or not this one's, in words."""
    verbs, resources, named = set(rule["verbs"]), set(rule["resources"]), bool(rule.get("resourceNames"))
    if "*" in verbs | resources | set(rule["apiGroups"]):
        return "has a *"
    if resources & {"secrets", "configmaps"}:
        may = {"get", "list", "watch"} | ({"patch"} if is_rotators and resources == {"secrets"} else set())
        return None if named and verbs <= may else "may more than read named Secrets and ConfigMaps"
    if resources != {"leases"}:
        return f"is about {', '.join(sorted(resources))}"
    unnamed = (LISTENS if is_rotators else SAYS) if acknowledges else set()
    fine = verbs <= {"get", "update"} if named else verbs == {"create"} or verbs <= unnamed
    return None if fine else "may more with Leases than the restart lock needs"


def of_policy(spec, settings, policy):
    own = pods.dlconf(spec)["securityContext"].get("runAsUser")
    for rule in policy.get("allow", []):
        actions = set(rule["actions"])
        if not rotates(settings):
            if rule.get("uid") == own:
                yield "the policy names dlconf's own user"
            if actions & {"rotate", "forget"}:
                yield f"the policy lets user {rule.get('uid')} rotate where nothing rotates"
        elif rule.get("uid") != own or actions - TURNS:
            yield "the rotator's policy gives more than to turn keys, or to somebody else"


def of_settings(spec, settings):
    if not rotates(settings):
        if pods.alone(spec):
            yield "a dlconf in a pod of its own rotates nothing"
        return
    rotation = settings["rotation"]
    if not pods.alone(spec):
        yield "a dlconf beside a program may write secrets"
    if "service" in settings:
        yield "the rotator is for one service only"
    if not rotation.get("leader", "none").startswith("lease/"):
        yield "two rotators would not know of each other"
    if not leases_of(spec, settings).startswith("leases/"):
        yield "nobody tells the rotator who has which key"
    for window in rotation.get("windows", []):
        if not WINDOW.fullmatch(window):
            yield f"the window {window!r} is none"


def together(rotator, readers, values, name):
    """The rotator of one stack, and the programs of another one in the same namespace: each
    is a spec and its settings, by the name of the program; and their values that are no
    secrets."""
    spec, settings = rotator
    for variable in ("SMTP_HOST", "DB_HOST"):
        if values[variable] not in settings["rotation"].get("probe_hosts", []):
            yield f"{name}: no new value may be tried on {variable}, {values[variable]}"
    for service, (_, of_it, replicas) in readers.items():
        consumer = settings.get("consumer", {}).get(service)
        if consumer is None:
            yield f"{name}: nobody expects {service} to acknowledge"
        elif consumer.get("instances") != replicas:
            yield f"{name}: {service} has {replicas} replicas, and {consumer.get('instances')} are expected"
        elif consumer.get("verifies") != "single":
            yield f"{name}: today's API verifies with one key, and {service} is said to have a ring"
        for kind, items in (("secrets", "secrets"), ("vault", "paths")):
            missing = read(of_it, items) - read(settings, items)
            if missing:
                yield f"{name}: {service} reads {kind} that the rotator does not: {sorted(missing)}"
    for service, (reader, of_it, _) in readers.items():
        if leases_of(reader, of_it) != leases_of(spec, settings):
            yield f"{name}: {service} acknowledges where the rotator does not listen"


def read(settings, items):
    """Names of Secrets, or paths of Vault."""
    held = [i for s in settings.get("source", {}).values() for i in s.get(items, [])]
    return {i if isinstance(i, str) else f"{i['mount']}/{i['path']}" for i in held}
