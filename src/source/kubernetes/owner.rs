//! Who else writes an object: a controller that would write over what we put there. Pure.
//!
//! Invariants: of annotations only the names are looked at, since one may hold a copy of
//! the values; what the server says is repeated only where it is a plain name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::kubernetes::Names;

/// The longest name that is repeated.
const LONGEST: usize = 253;

/// What of an object's metadata tells whose it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Traces {
    #[serde(default)]
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(default)]
    annotations: Names,
    #[serde(default)]
    owner_references: Option<Vec<Reference>>,
    #[serde(default)]
    managed_fields: Option<Vec<Managed>>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    #[serde(default)]
    kind: Box<str>,
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Managed {
    #[serde(default)]
    manager: Box<str>,
    #[serde(default)]
    operation: Box<str>,
    /// Names of fields, never values.
    #[serde(default)]
    fields_v1: Value,
}

/// What marks an object, and who does. A name that ends with `/` stands for all that
/// begin so.
const LABELS: [(&str, &str); 7] = [
    ("reconcile.external-secrets.io/", "External Secrets"),
    ("sealedsecrets.bitnami.com/", "Sealed Secrets"),
    ("controller.cert-manager.io/", "cert-manager"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/", "Flux"),
    ("helm.toolkit.fluxcd.io/", "Flux"),
    ("secrets-store.csi.k8s.io/managed", "the Secrets Store CSI driver"),
];

const ANNOTATIONS: [(&str, &str); 6] = [
    ("reconcile.external-secrets.io/", "External Secrets"),
    ("sealedsecrets.bitnami.com/", "Sealed Secrets"),
    ("cert-manager.io/certificate-name", "cert-manager"),
    ("meta.helm.sh/release-name", "Helm"),
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/", "Flux"),
];

/// The label in which tools name themselves, and those of them that write again what
/// somebody else changed.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const MANAGERS: [(&str, &str); 2] = [("Helm", "Helm"), ("external-secrets", "External Secrets")];

impl Traces {
    /// Who else writes these keys, as a message names it; none where nobody does.
    pub(super) fn owner<'k>(&self, mut keys: impl Iterator<Item = &'k str>) -> Option<String> {
        self.controller().or_else(|| self.tool()).or_else(|| keys.find_map(|key| self.applier(key)))
    }

    /// The object that it is a part of.
    fn controller(&self) -> Option<String> {
        let owners = self.owner_references.iter().flatten();
        let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
        Some(match (plain(&owner.kind), plain(&owner.name)) {
            (Some(kind), Some(name)) => format!("the {kind} {name}"),
            _ => "another controller".to_owned(),
        })
    }

    /// A tool that marks what it writes.
    fn tool(&self) -> Option<String> {
        let labels = self.labels.iter().flatten();
        let by_name = |name: &str, marks: &[(&str, &'static str)]| {
            let is_it = |mark: &str| if mark.ends_with('/') { name.starts_with(mark) } else { name == mark };
            marks.iter().find(|(mark, _)| is_it(mark)).map(|(_, tool)| *tool)
        };
        let told = || {
            let by = self.labels.as_ref()?.get(MANAGED_BY)?;
            MANAGERS.iter().find(|(name, _)| **by == **name).map(|(_, tool)| *tool)
        };
        let labelled = || labels.into_iter().find_map(|(name, _)| by_name(name, &LABELS));
        let annotated = || self.annotations.iter().find_map(|name| by_name(name, &ANNOTATIONS));
        labelled().or_else(annotated).or_else(told).map(str::to_owned)
    }

    /// Who applies this key again and again (server-side apply).
    fn applier(&self, key: &str) -> Option<String> {
        let field = format!("f:{key}");
        let owns = |managed: &&Managed| {
            &*managed.operation == "Apply"
                && managed.fields_v1.get("f:data").is_some_and(|data| data.get(&field).is_some())
        };
        let applier = self.managed_fields.iter().flatten().find(owns)?;
        Some(match plain(&applier.manager) {
            Some(name) => format!("{name}, which applies it"),
            None => "somebody who applies it".to_owned(),
        })
    }
}

/// A name that shows as it is.
fn plain(text: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!text.is_empty() && text.len() <= LONGEST && text.bytes().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metadata: &str, key: &str, expect: Option<&str>) {
        let traces: Traces = serde_json::from_str(metadata).unwrap();
        assert_eq!(traces.owner([key].into_iter()).as_deref(), expect, "{metadata}");
    }

    #[test]
    fn an_object_of_nobody_is_ours_to_write() {
        for metadata in [
            "{}",
            r#"{"labels":null,"annotations":null,"ownerReferences":null,"managedFields":null}"#,
            r#"{"labels":{"app.kubernetes.io/managed-by":"people","app.kubernetes.io/instance":"shop"}}"#,
            r#"{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}}"#,
            r#"{"ownerReferences":[{"kind":"Pod","name":"a","controller":false},{"kind":"Pod","name":"b"}]}"#,
        ] {
            check(metadata, "TOKEN", None);
        }
    }

    #[test]
    fn a_controller_and_the_tools_are_known_by_what_they_leave() {
        for (metadata, expect) in [
            (
                r#"{"ownerReferences":[{"kind":"ExternalSecret","name":"app","controller":true}]}"#,
                "the ExternalSecret app",
            ),
            (r#"{"ownerReferences":[{"kind":"a\nb","name":"app","controller":true}]}"#, "another controller"),
            (r#"{"labels":{"reconcile.external-secrets.io/managed":"true"}}"#, "External Secrets"),
            (r#"{"annotations":{"reconcile.external-secrets.io/data-hash":"x"}}"#, "External Secrets"),
            (r#"{"annotations":{"sealedsecrets.bitnami.com/managed":"true"}}"#, "Sealed Secrets"),
            (r#"{"annotations":{"cert-manager.io/certificate-name":"x"}}"#, "cert-manager"),
            (r#"{"labels":{"app.kubernetes.io/managed-by":"Helm"}}"#, "Helm"),
            (r#"{"annotations":{"meta.helm.sh/release-name":"shop"}}"#, "Helm"),
            (r#"{"annotations":{"argocd.argoproj.io/tracking-id":"x"}}"#, "Argo CD"),
            (r#"{"labels":{"kustomize.toolkit.fluxcd.io/name":"x"}}"#, "Flux"),
        ] {
            check(metadata, "TOKEN", Some(expect));
        }
    }

    #[test]
    fn who_applies_a_key_owns_that_key_alone() {
        let managed = |operation: &str| {
            format!(
                r#"{{"managedFields":[{{"manager":"kubectl","operation":"{operation}","fieldsV1":{{"f:data":{{".":{{}},"f:TOKEN":{{}}}}}}}}]}}"#
            )
        };
        check(&managed("Apply"), "TOKEN", Some("kubectl, which applies it"));
        check(&managed("Apply"), "TOKEN_NEXT", None);
        check(&managed("Apply"), "TOK", None);
        check(&managed("Update"), "TOKEN", None);
    }
}
