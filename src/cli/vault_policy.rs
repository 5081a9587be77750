//! `dlconf vault-policy`: the rights that the settings need of Vault or OpenBao.
//! Asks nobody: it says what the settings say.

use clap::Args;

use super::output::Terminal;
use super::rights::{self, Named};
use super::{Failure, Global, exit};
use crate::assemble::{Choice, Ground, ground};
use crate::settings::SourceKind;
use crate::source::vault::Config;
use crate::source::vault::config::Engine;
use crate::source::vault::policy::{Purpose, grants, hcl};

#[derive(Debug, Args)]
pub(super) struct VaultPolicy {
    /// For `check --names-only`: it tells which names there are, and reads no value of KV v2
    #[arg(long, conflicts_with = "rotate")]
    names_only: bool,
    /// For rotation: it also writes the paths of KV v2
    #[arg(long)]
    rotate: bool,
    /// Of several vault sources, this one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl VaultPolicy {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        // Nothing is asked either way, and offline the settings leave these sources out.
        let global = Global { offline: false, ..global.clone() };
        let ground = ground(&global.request(), Choice::Asked, terminal.stderr_style())?;
        let chosen = self.choose(&ground)?;
        let configs: Vec<&Config> = chosen.iter().map(|(_, config)| *config).collect();
        let grants = grants(&configs, self.purpose()).map_err(|pattern| {
            Failure::usage(
                format!("no policy can be printed: {pattern}"),
                "rename the secret, or write its policy by hand",
            )
        })?;
        Terminal::payload(&hcl(&self.header(&ground, &chosen), &grants))?;
        Ok(exit::FINE)
    }

    fn purpose(&self) -> Purpose {
        match (self.names_only, self.rotate) {
            (true, _) => Purpose::Names,
            (_, true) => Purpose::Rotate,
            _ => Purpose::Read,
        }
    }

    /// The sources that one policy is for: the one that is named, or all, if they
    /// log in alike. A policy for two logins would give each the other's rights.
    fn choose<'g>(&self, ground: &'g Ground) -> Result<Vec<Named<'g, Config>>, Failure> {
        let of = |kind: &'g SourceKind| match kind {
            SourceKind::Vault { config, .. } => Some(&**config),
            _ => None,
        };
        let all = rights::sources(ground, "vault", self.source.as_deref(), of)?;
        let Some(((name, first), rest)) = all.split_first() else {
            return Err(rights::none(ground, "vault", "docs/vault.md"));
        };
        let same = |other: &Config| {
            (&other.address, &other.namespace, &other.auth) == (&first.address, &first.namespace, &first.auth)
        };
        if rest.iter().all(|(_, other)| same(other)) {
            return Ok(all);
        }
        Err(Failure::usage(
            format!(
                "the sources {} log in differently, and each needs a policy of its own",
                rights::listed(&all)
            ),
            format!("say which one: --source {name}"),
        ))
    }

    fn header(&self, ground: &Ground, chosen: &[Named<'_, Config>]) -> Vec<String> {
        let mut command = "dlconf vault-policy".to_owned();
        for (given, option) in [(self.names_only, " --names-only"), (self.rotate, " --rotate")] {
            command.push_str(if given { option } else { "" });
        }
        let mut lines = Vec::new();
        let paths = || chosen.iter().flat_map(|(_, config)| &config.paths);
        if let Some(namespace) = chosen.first().and_then(|(_, config)| config.namespace.as_ref()) {
            lines.push(format!(
                "The paths are those inside the namespace {namespace}: write the policy there."
            ));
        }
        if self.names_only && paths().any(|p| matches!(p.engine, Engine::Kv1 { .. } | Engine::Generic { .. }))
        {
            lines.push("Careful: this reads values, since only KV v2 can tell names alone.".into());
        }
        if self.rotate {
            lines.push("Rotation writes KV v2 by check-and-set, and nothing else.".into());
        }
        rights::header(&command, ground, chosen, lines)
    }
}
