"""The objects against Kubernetes's own JSON schemas, as strict as they come: a field that
the schema does not have is refused."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import kubernetes_validate

# The oldest that has native sidecars in its schemas here, and the newest.
VERSIONS = ["1.33", "1.37"]
# Kinds of others, whose schemas Kubernetes does not have: named, never passed over by chance.
FOREIGN = {("monitoring.coreos.com/v1", "PodMonitor"), ("monitoring.coreos.com/v1", "PrometheusRule")}


def wrong(rendered):
    for version in VERSIONS:
        for o in rendered.objects:
            if (o["apiVersion"], o["kind"]) in FOREIGN:
                continue
            try:
                kubernetes_validate.validate(o, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                yield f"{o['kind']} {o['metadata']['name']} by the schemas of {version}: {error}"


def blind():
    """What these schemas have to refuse, or they see nothing."""
    sidecar = {"name": "dlconf", "image": "dlconf:1", "restartPolicy": "Always"}


    def pod(container):
        spec = {"initContainers": [container], "containers": [{"name": "a"}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}

    for version in VERSIONS:
        kubernetes_validate.validate(pod(sidecar), version, strict=True)
        for bad in [{**sidecar, "restartpolicy": "Always"}, {**sidecar, "ports": [{"containerPort": "9470"}]}]:
            try:
                kubernetes_validate.validate(pod(bad), version, strict=True)
                yield f"the schemas of {version} accept {bad}"
            except kubernetes_validate.ValidationError:
                pass
