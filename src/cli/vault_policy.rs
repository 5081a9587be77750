//! `dlconf vault-policy`: the rights that the settings need of Vault or OpenBao.
//! Asks nobody: it says what the settings say.

use clap::Args;

use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::assemble::{Choice, Ground, ground};
use crate::model::key::SourceName;
use crate::model::schema::toml_reader::nearest;
use crate::report::visible;
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
    fn choose<'g>(&self, ground: &'g Ground) -> Result<Vec<(&'g SourceName, &'g Config)>, Failure> {
        let all: Vec<(&SourceName, &Config)> = ground
            .settings
            .sources
            .iter()
            .filter_map(|source| match &source.kind {
                SourceKind::Vault { config, .. } => Some((&source.name, &**config)),
                _ => None,
            })
            .collect();
        let names = || all.iter().map(|(name, _)| name.as_str());
        let listed = || names().collect::<Vec<_>>().join(", ");
        if let Some(wanted) = &self.source {
            if let Some(one) = all.iter().find(|(name, _)| name.as_str() == wanted) {
                return Ok(vec![*one]);
            }
            let help = match nearest(wanted, names()) {
                Some(near) => format!("did you mean {near}?"),
                None if all.is_empty() => "the settings have none".to_owned(),
                None => format!("these are: {}", listed()),
            };
            return Err(Failure::usage(format!("`{wanted}` is no source of type \"vault\""), help));
        }
        let Some(((_, first), rest)) = all.split_first() else {
            let of = ground.opened.label().unwrap_or("the embedded settings");
            return Err(Failure::usage(
                format!("{of}: no source of type \"vault\" in {}", ground.environment),
                "declare one as docs/vault.md shows, or name other settings with --config",
            ));
        };
        let same = |other: &Config| {
            (&other.address, &other.namespace, &other.auth) == (&first.address, &first.namespace, &first.auth)
        };
        if rest.iter().all(|(_, other)| same(other)) {
            return Ok(all);
        }
        Err(Failure::usage(
            format!("the sources {} log in differently, and each needs a policy of its own", listed()),
            format!("say which one: --source {}", all.first().map_or("", |(name, _)| name.as_str())),
        ))
    }

    fn header(&self, ground: &Ground, chosen: &[(&SourceName, &Config)]) -> Vec<String> {
        let mut command = "dlconf vault-policy".to_owned();
        for (given, option) in [(self.names_only, " --names-only"), (self.rotate, " --rotate")] {
            command.push_str(if given { option } else { "" });
        }
        let names: Vec<&str> = chosen.iter().map(|(name, _)| name.as_str()).collect();
        let settings = ground.opened.label().unwrap_or("the process environment");
        let mut lines = vec![
            format!("Made by `{command}` from {settings},"),
            format!("environment {}, source {}.", ground.environment, names.join(" and ")),
        ];
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
        lines.iter().map(|line| visible(line).into_owned()).collect()
    }
}
