//! `dlconf rbac`: the rights that the settings need of Kubernetes. Asks nobody: it
//! says what the settings say.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::output::Terminal;
use super::rights::{self, Named};
use super::run::lease;
use super::{Failure, Global, exit};
use crate::assemble::{Choice, Ground, ground};
use crate::kubernetes::{Account, Name, Role, Rule, yaml};
use crate::settings::SourceKind;
use crate::source::kubernetes::Config;
use crate::source::kubernetes::rbac::{Purpose, rules};

/// The service account that is meant where nobody says.
const ACCOUNT: &str = "dlconf";

#[derive(Debug, Args)]
pub(super) struct Rbac {
    /// The service account that gets the rights; in another namespace: NAMESPACE/NAME [default: dlconf]
    #[arg(long, value_name = "NAME", value_parser = account)]
    service_account: Option<Account>,
    /// For rotation: it also writes the Secrets
    #[arg(long)]
    rotate: bool,
    /// The Lease by which one of several daemons rotates
    #[arg(long, value_name = "lease/NAME", value_parser = lease, requires = "rotate")]
    leader: Option<Name>,
    /// For acknowledgements that travel by Leases: it says what programs run; with --rotate it hears all
    #[arg(long)]
    acknowledge: bool,
    /// Of a program that runs with this --restart-lock, the Role as well; repeatable
    #[arg(long, value_name = "lease/NAME", value_parser = lease)]
    restart_lock: Vec<Name>,
    /// Of several kubernetes sources, this one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

fn account(text: &str) -> Result<Account, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(Name::namespace(namespace)), name),
        None => (None, text),
    };
    match (namespace, Name::object(name)) {
        (None, Some(name)) => Ok(Account { namespace: None, name }),
        (Some(Some(namespace)), Some(name)) => Ok(Account { namespace: Some(namespace), name }),
        _ => Err("write NAME or NAMESPACE/NAME, in lower-case letters, digits, `-` and `.`".to_owned()),
    }
}

impl Rbac {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        // Nothing is asked either way, and offline the settings leave these sources out.
        let global = Global { offline: false, ..global.clone() };
        let ground = ground(&global.request(), Choice::Asked, terminal.stderr_style())?;
        let chosen = self.choose(&ground)?;
        let mut places: BTreeMap<Option<Name>, Vec<&Config>> = BTreeMap::new();
        for (_, config) in &chosen {
            places.entry(config.namespace.clone()).or_default().push(config);
        }
        let account = self.account(places.len())?;
        let mut roles = Vec::new();
        for (at, (namespace, configs)) in places.iter().enumerate() {
            let mut permitted = rules(configs, if self.rotate { Purpose::Rotate } else { Purpose::Read });
            // The Lease is where the daemon is, and that is one of them.
            if at == 0
                && let Some(leader) = &self.leader
            {
                permitted.extend(Rule::leases(BTreeSet::from([leader.clone()])));
            }
            if at == 0 && self.acknowledge {
                permitted.push(Rule::acknowledgements(self.rotate));
            }
            roles.push(role(&account, "", namespace.clone(), permitted)?);
        }
        if places.is_empty() && self.acknowledge {
            // The daemon reads other sources, and says all the same what runs.
            let permitted = vec![Rule::acknowledgements(self.rotate)];
            roles.push(role(&account, "", account.namespace.clone(), permitted)?);
        }
        if !self.restart_lock.is_empty() {
            let permitted = Rule::leases(self.restart_lock.iter().cloned().collect()).to_vec();
            // A lock is where the pod is.
            let namespace = match places.keys().collect::<Vec<_>>().as_slice() {
                [one] => (*one).clone(),
                _ => account.namespace.clone(),
            };
            roles.push(role(&account, "-restart", namespace, permitted)?);
        }
        Terminal::payload(&yaml(&self.header(&ground, &chosen, &roles), &roles))?;
        Ok(exit::FINE)
    }

    /// The sources that are meant: all, if they ask one API server.
    fn choose<'g>(&self, ground: &'g Ground) -> Result<Vec<Named<'g, Config>>, Failure> {
        let of = |kind: &'g SourceKind| match kind {
            SourceKind::Kubernetes { config } => Some(&**config),
            _ => None,
        };
        let chosen = rights::sources(ground, "kubernetes", self.source.as_deref(), of)?;
        let Some(((first, config), rest)) = chosen.split_first() else {
            // A lock needs no source, nor do acknowledgements.
            return if self.restart_lock.is_empty() && !self.acknowledge {
                Err(rights::none(ground, "kubernetes", "docs/kubernetes-source.md"))
            } else {
                Ok(chosen)
            };
        };
        if rest.iter().all(|(_, other)| other.server == config.server) {
            return Ok(chosen);
        }
        Err(Failure::usage(
            format!(
                "the sources {} ask different API servers, and each has Roles of its own",
                rights::listed(&chosen)
            ),
            format!("say which one: --source {first}"),
        ))
    }

    /// Who gets the rights, of objects in so many namespaces.
    fn account(&self, namespaces: usize) -> Result<Account, Failure> {
        let named = self.service_account.clone();
        let account = named.or_else(|| Some(Account { namespace: None, name: Name::object(ACCOUNT)? }));
        match account {
            Some(account) if namespaces < 2 || account.namespace.is_some() => Ok(account),
            _ => Err(Failure::usage(
                "the sources are in several namespaces, and the service account is in one",
                "say where it is: --service-account NAMESPACE/NAME",
            )),
        }
    }

    fn header(&self, ground: &Ground, chosen: &[Named<'_, Config>], roles: &[Role]) -> Vec<String> {
        let mut command = "dlconf rbac".to_owned();
        if self.rotate {
            command.push_str(" --rotate");
        }
        if let Some(leader) = &self.leader {
            command.push_str(&format!(" --leader lease/{leader}"));
        }
        if self.acknowledge {
            command.push_str(" --acknowledge");
        }
        for lock in &self.restart_lock {
            command.push_str(&format!(" --restart-lock lease/{lock}"));
        }
        let mut more = Vec::new();
        if self.service_account.is_none() {
            more.push(format!(
                "The service account is taken to be {ACCOUNT}: `--service-account NAME` names another."
            ));
        }
        if roles.iter().any(|role| role.namespace.is_none()) {
            more.push(
                "The settings name no namespace: `kubectl apply --namespace NAME` says which it is.".into(),
            );
        }
        if self.rotate {
            more.push("Rotation writes Secrets by JSON patch, and nothing else.".into());
        }
        if !self.restart_lock.is_empty() && roles.len() > 1 {
            more.push(
                "The last Role is the supervised program's: bind it to another account if it has one.".into(),
            );
        }
        rights::header(&command, ground, chosen, more)
    }
}

/// The Role of an account: of a name that nobody gives to a Role of his own.
fn role(account: &Account, what: &str, namespace: Option<Name>, rules: Vec<Rule>) -> Result<Role, Failure> {
    let own = account.name.as_str();
    let name = if own == ACCOUNT { format!("{ACCOUNT}{what}") } else { format!("{own}-{ACCOUNT}{what}") };
    let name = Name::object(&name).ok_or_else(|| {
        Failure::usage(
            "the service account's name is too long for that of a Role made from it",
            "name one of at most 238 letters",
        )
    })?;
    Ok(Role { name, namespace, rules, account: account.clone() })
}
