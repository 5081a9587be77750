//! The rights that [`Config`]s need of one namespace, and nothing more. Pure.
//!
//! The verbs are those by which the source itself asks what it may not do, so what is
//! printed is what is needed.

use std::collections::BTreeSet;

use super::config::Config;
use super::look::VERBS;
use crate::kubernetes::{Kind, Name, Rule, Verb};

/// What somebody wants to do with the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Read them and follow them.
    Read,
    /// The same, and write new values into the Secrets.
    Rotate,
}

/// A rule for each kind of object. Secrets are written by JSON patches that test the
/// version; config maps hold no secrets, so nothing writes them.
pub(crate) fn rules(configs: &[&Config], purpose: Purpose) -> Vec<Rule> {
    let rule = |kind: Kind| {
        let objects = configs.iter().flat_map(|config| &config.objects);
        let names: BTreeSet<Name> =
            objects.filter(|object| object.kind == kind).map(|object| object.name.clone()).collect();
        let writes = kind == Kind::Secret && purpose == Purpose::Rotate;
        let verbs = VERBS.into_iter().chain(writes.then_some(Verb::Patch)).collect();
        // Without a name it would be a rule for all of them.
        (!names.is_empty()).then_some(Rule { kind, names, verbs, comment: None })
    };
    [Kind::Secret, Kind::ConfigMap].into_iter().filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::{Spec, default};
    use super::*;
    use crate::kubernetes::Server;
    use crate::source::fields::Select;

    fn config(objects: &[(Kind, &str)]) -> Config {
        let spec = |(kind, name): &(Kind, &str)| Spec {
            kind: *kind,
            name: Name::object(name).unwrap(),
            select: Select::default(),
            base64: Vec::new(),
        };
        Config {
            server: Server::InCluster,
            namespace: None,
            objects: objects.iter().map(spec).collect(),
            required: true,
            timeout: default::TIMEOUT,
            deadline: default::DEADLINE,
        }
    }

    fn told(configs: &[&Config], purpose: Purpose) -> Vec<String> {
        let told = |rule: &Rule| {
            let names: Vec<&str> = rule.names.iter().map(Name::as_str).collect();
            let verbs: Vec<&str> = rule.verbs.iter().map(|verb| verb.as_str()).collect();
            format!("{} {} {}", rule.kind.resource(), names.join(","), verbs.join(","))
        };
        rules(configs, purpose).iter().map(told).collect()
    }

    #[test]
    fn each_kind_has_a_rule_with_every_name_once() {
        let one = config(&[(Kind::ConfigMap, "m"), (Kind::Secret, "b"), (Kind::Secret, "a")]);
        let other = config(&[(Kind::Secret, "b")]);
        let maps = "configmaps m get,list,watch";
        assert_eq!(told(&[&one, &other], Purpose::Read), ["secrets a,b get,list,watch", maps]);
        assert_eq!(told(&[&one], Purpose::Rotate), ["secrets a,b get,list,watch,patch", maps]);
        assert_eq!(told(&[&other], Purpose::Read), ["secrets b get,list,watch"]);
        let maps_only = config(&[(Kind::ConfigMap, "m")]);
        assert_eq!(told(&[&maps_only], Purpose::Rotate), [maps]);
    }
}
