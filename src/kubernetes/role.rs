//! Roles, and to whom they are given, as manifests. Pure.
//!
//! Owns: what a rule of RBAC can say, and its YAML. Invariants: the same rights give
//! the same bytes; every name stands in quotes and needs no escape, since a [`Name`]
//! is made of letters, digits, `-` and `.`; a comment ends with its line.
//! Must not know: who needs which rights.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::object::{Kind, Name};
use super::rights::Verb;

/// Some verbs on some objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    /// Empty: all of the namespace.
    pub(crate) names: BTreeSet<Name>,
    pub(crate) verbs: BTreeSet<Verb>,
    /// What for, where that is not plain.
    pub(crate) comment: Option<&'static str>,
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// None is the namespace of what it is given.
    pub(crate) namespace: Option<Name>,
    pub(crate) name: Name,
}

/// A Role, and the RoleBinding of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) name: Name,
    /// None is where it is applied.
    pub(crate) namespace: Option<Name>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) account: Account,
}

impl Rule {
    /// To keep a lock in Leases of these names.
    pub(crate) fn leases(names: BTreeSet<Name>) -> [Self; 2] {
        let keep = Self {
            kind: Kind::Lease,
            names,
            verbs: BTreeSet::from([Verb::Get, Verb::Update]),
            comment: None,
        };
        let make = Self {
            kind: Kind::Lease,
            names: BTreeSet::new(),
            verbs: BTreeSet::from([Verb::Create]),
            comment: Some("What is not there yet has no name for RBAC: create cannot be narrowed."),
        };
        [keep, make]
    }

    /// To say in Leases which keys programs run: each instance has one, whose name is made
    /// of its own. `hears` is whoever reads them all, and deletes what lapsed.
    pub(crate) fn acknowledgements(hears: bool) -> Self {
        let mut verbs = BTreeSet::from([Verb::Get, Verb::Create, Verb::Update]);
        if hears {
            verbs.extend([Verb::List, Verb::Delete]);
        }
        Self {
            kind: Kind::Lease,
            names: BTreeSet::new(),
            verbs,
            comment: Some(
                "Acknowledgements: which instances there will be is not known before, nor their Leases' names.",
            ),
        }
    }

    fn write(&self, out: &mut String) {
        if let Some(comment) = self.comment {
            let _ = writeln!(out, "  # {comment}");
        }
        let _ = writeln!(out, "  - apiGroups: [\"{}\"]", self.kind.group());
        let _ = writeln!(out, "    resources: [\"{}\"]", self.kind.resource());
        if !self.names.is_empty() {
            let _ = writeln!(out, "    resourceNames: [{}]", quoted(self.names.iter().map(Name::as_str)));
        }
        let _ = writeln!(out, "    verbs: [{}]", quoted(self.verbs.iter().map(|verb| verb.as_str())));
    }
}

impl Role {
    // Writing to a String cannot fail.
    fn write(&self, out: &mut String) {
        self.head(out, "Role");
        out.push_str("rules:\n");
        for rule in &self.rules {
            rule.write(out);
        }
        out.push_str("---\n");
        self.head(out, "RoleBinding");
        let _ = writeln!(
            out,
            "roleRef:\n  apiGroup: \"rbac.authorization.k8s.io\"\n  kind: \"Role\"\n  name: \"{}\"",
            self.name
        );
        let _ = writeln!(out, "subjects:\n  - kind: \"ServiceAccount\"\n    name: \"{}\"", self.account.name);
        if let Some(namespace) = self.account.namespace.as_ref().or(self.namespace.as_ref()) {
            let _ = writeln!(out, "    namespace: \"{namespace}\"");
        }
    }

    fn head(&self, out: &mut String, kind: &str) {
        let _ = writeln!(
            out,
            "apiVersion: \"rbac.authorization.k8s.io/v1\"\nkind: \"{kind}\"\nmetadata:\n  name: \"{}\"",
            self.name
        );
        if let Some(namespace) = &self.namespace {
            let _ = writeln!(out, "  namespace: \"{namespace}\"");
        }
    }
}

/// The manifests, `header` above them as comments.
pub(crate) fn yaml(header: &[String], roles: &[Role]) -> String {
    let mut out = String::new();
    for line in header {
        let line: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let _ = writeln!(out, "# {line}");
    }
    for (at, role) in roles.iter().enumerate() {
        if at > 0 {
            out.push_str("---\n");
        }
        role.write(&mut out);
    }
    out
}

fn quoted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::object(text).unwrap()
    }

    #[test]
    fn it_is_yaml_that_says_so() {
        let read = Rule {
            kind: Kind::Secret,
            names: [name("b"), name("123")].into(),
            verbs: [Verb::Watch, Verb::Get].into(),
            comment: None,
        };
        let role = |rules: Vec<Rule>, namespace: Option<&str>, of: Option<&str>| Role {
            name: name("true"),
            namespace: namespace.map(name),
            rules,
            account: Account { namespace: of.map(name), name: name("app") },
        };
        let leases = Rule::leases([name("turn")].into()).to_vec();
        let roles = [role(vec![read], Some("shop"), None), role(leases, None, Some("jobs"))];
        let text = yaml(&["a\nb: c".into()], &roles);
        expect_test::expect![[r#"
            # a�b: c
            apiVersion: "rbac.authorization.k8s.io/v1"
            kind: "Role"
            metadata:
              name: "true"
              namespace: "shop"
            rules:
              - apiGroups: [""]
                resources: ["secrets"]
                resourceNames: ["123", "b"]
                verbs: ["get", "watch"]
            ---
            apiVersion: "rbac.authorization.k8s.io/v1"
            kind: "RoleBinding"
            metadata:
              name: "true"
              namespace: "shop"
            roleRef:
              apiGroup: "rbac.authorization.k8s.io"
              kind: "Role"
              name: "true"
            subjects:
              - kind: "ServiceAccount"
                name: "app"
                namespace: "shop"
            ---
            apiVersion: "rbac.authorization.k8s.io/v1"
            kind: "Role"
            metadata:
              name: "true"
            rules:
              - apiGroups: ["coordination.k8s.io"]
                resources: ["leases"]
                resourceNames: ["turn"]
                verbs: ["get", "update"]
              # What is not there yet has no name for RBAC: create cannot be narrowed.
              - apiGroups: ["coordination.k8s.io"]
                resources: ["leases"]
                verbs: ["create"]
            ---
            apiVersion: "rbac.authorization.k8s.io/v1"
            kind: "RoleBinding"
            metadata:
              name: "true"
            roleRef:
              apiGroup: "rbac.authorization.k8s.io"
              kind: "Role"
              name: "true"
            subjects:
              - kind: "ServiceAccount"
                name: "app"
                namespace: "jobs"
        "#]]
        .assert_eq(&text);
    }
}
