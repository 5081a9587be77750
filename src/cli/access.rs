//! `dlconf access test`: what the access policy lets somebody do, and why.
//!
//! No source is read and no daemon asked: it is decided here, by the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use nix::unistd::Uid;

use super::output::Terminal;
use super::{Failure, Global, exit, path};
use crate::access::policy::accounts::{Account, Accounts as _, System, Unresolved};
use crate::access::policy::parse::Written;
use crate::access::policy::{Decision, DenyReason, Lack, Rule, Unmet};
use crate::access::{Action, NothingSelected, Policy, RuleId, Selection, caller};
use crate::assemble::{Choice, Ground, Request, ground, read_policy};
use crate::model::key::Key;
use crate::report::access::{RuleTold, Trial, Verdict, json, text};
use crate::report::plural;
use crate::settings::ShownPath;

#[derive(Debug, Args)]
pub(super) struct Access {
    #[command(subcommand)]
    command: AccessCommand,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    /// Say what the access policy lets somebody do, by which rule, and why not
    ///
    /// Ends with 0 where all of it is allowed, with 4 where anything is refused. No
    /// source is read and no daemon is asked.
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// User that asks, by number
    #[arg(long, value_name = "UID", required_unless_present = "user", conflicts_with = "user")]
    uid: Option<u32>,
    /// The same, by name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Group of it, its own or a supplementary one; repeatable. By default those of its account here
    #[arg(long = "gid", value_name = "GID")]
    gids: Vec<u32>,
    /// The same, by name
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// Program that it runs
    #[arg(long, value_name = "PATH", value_parser = path())]
    exe: Option<PathBuf>,
    /// Systemd unit that it runs in
    #[arg(long, value_name = "UNIT", value_parser = NonEmptyStringValueParser::new())]
    unit: Option<String>,
    /// What it wants to do; repeatable
    #[arg(long = "action", value_name = "ACTION", default_value = "read", value_parser = action())]
    actions: Vec<Action>,
    /// With what: names, patterns, `group:NAME`, `service:NAME`; repeatable. By default everything
    #[arg(long = "var", value_name = "NAME")]
    vars: Vec<String>,
    /// Policy instead of the one that the settings name
    #[arg(long, value_name = "FILE", value_parser = path())]
    policy: Option<PathBuf>,
    /// The daemon's own user; by default the one that runs this
    #[arg(long, value_name = "UID")]
    daemon_uid: Option<u32>,
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: AccessFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum AccessFormat {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

fn action() -> impl TypedValueParser<Value = Action> {
    let named = |word: String| Action::ALL.into_iter().find(|action| action.as_str() == word);
    PossibleValuesParser::new(Action::ALL.map(Action::as_str))
        .try_map(move |word| named(word).ok_or("no action"))
}

impl Access {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let AccessCommand::Test(test) = &self.command;
        test.run(global, terminal)
    }
}

/// Who is taken to ask.
struct Who {
    uid: u32,
    groups: Vec<u32>,
    /// What of that was looked up, as a clause.
    note: Option<String>,
}

/// The rules by which it is decided.
struct Rules {
    policy: Policy,
    /// As people wrote them.
    written: Vec<Written>,
    /// The file; none where there is none.
    label: Option<String>,
    own: u32,
}

impl Test {
    fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let who = self.who()?;
        // What a remote source is told may differ, who may ask does not.
        let request = Request { offline: true, ..global.request() };
        let style = terminal.stderr_style();
        let ground = ground(&request, Choice::Asked, style)?;
        let keys = self.keys(&ground)?;
        let rules = self.rules(&ground, terminal)?;
        let trial = self.judge(&ground, &who, &rules, &keys);
        Terminal::payload(&match self.format {
            AccessFormat::Text => text(&trial, terminal.stdout_style()),
            AccessFormat::Json => json(&trial),
        })?;
        Ok(if trial.ok() { exit::FINE } else { exit::REFUSED })
    }

    fn who(&self) -> Result<Who, Failure> {
        let uid = match (&self.user, self.uid) {
            (Some(name), _) => System.user(name).map_err(|why| unknown("user", name, why))?,
            (None, uid) => uid.unwrap_or_default(),
        };
        if self.exe.as_ref().is_some_and(|exe| !exe.is_absolute()) {
            let help = "write an absolute path, as `readlink /proc/PID/exe` shows it";
            return Err(Failure::usage("--exe must be an absolute path", help));
        }
        let named =
            self.groups.iter().map(|name| System.group(name).map_err(|why| unknown("group", name, why)));
        let mut groups = named.collect::<Result<Vec<u32>, Failure>>()?;
        groups.splice(0..0, self.gids.iter().copied());
        if !groups.is_empty() {
            return Ok(Who { uid, groups, note: None });
        }
        let (groups, note) = match System.account(uid) {
            Ok(Account { name, groups }) => (groups, format!("the groups are those of the account {name}")),
            Err(Unresolved::Unknown) => (
                groups,
                "no account here has this number, so no groups are known: --gid says some".to_owned(),
            ),
            Err(Unresolved::Failed(errno)) => {
                (groups, format!("its groups could not be looked up ({errno}): --gid says some"))
            }
        };
        Ok(Who { uid, groups, note: Some(note) })
    }

    /// With what.
    fn keys(&self, ground: &Ground) -> Result<Vec<Key>, Failure> {
        let service = ground.service.as_deref();
        let mut keys = BTreeSet::new();
        let all = ["*".to_owned()];
        for part in if self.vars.is_empty() { &all } else { &*self.vars } {
            let meant = Selection::new([part.as_str()]).keys(&ground.schema, service);
            let meant = meant.map_err(|NothingSelected { part, near }| {
                let schema = &ground.schema.path;
                Failure::usage(
                    format!("--var {part} selects nothing that {schema} declares"),
                    near.map_or_else(
                        || "name a variable, a pattern, `group:NAME` or `service:NAME`".to_owned(),
                        |near| format!("did you mean {near}?"),
                    ),
                )
            })?;
            if let Some(service) = service.filter(|_| meant.is_empty()) {
                return Err(Failure::usage(
                    format!("a daemon of service {service} does not have {part}"),
                    "choose another --service, or name what this one reads",
                ));
            }
            keys.extend(meant);
        }
        let in_order = ground.schema.vars.iter().map(|var| &var.key).filter(|key| keys.contains(*key));
        Ok(in_order.cloned().collect())
    }

    fn rules(&self, ground: &Ground, terminal: &Terminal) -> Result<Rules, Failure> {
        let service = ground.service.as_deref();
        let own = self.daemon_uid.unwrap_or(Uid::effective().as_raw());
        let ours = ground.schema.vars.iter().filter(|var| var.read_by(service)).map(|var| var.key.clone());
        let file = match (&self.policy, &ground.settings.socket) {
            (Some(path), _) => Some(ShownPath::named(path)),
            (None, Some(socket)) => socket.policy.clone(),
            (None, None) => {
                return Err(Failure::usage(
                    "the settings have no [socket], so there is no access policy",
                    "name one: --policy FILE, or --config FILE for other settings",
                ));
            }
        };
        let Some(file) = file else {
            let policy = Policy::own_user(own, ours.collect());
            return Ok(Rules { policy, written: Vec::new(), label: None, own });
        };
        let written = read_policy(&file, &ground.schema, service, terminal.stderr_style())?.rules;
        let rules = written.iter().map(|written| written.rule.clone());
        Ok(Rules {
            policy: Policy::written(own, ours.collect(), rules),
            written,
            label: Some(file.label),
            own,
        })
    }

    fn judge(&self, ground: &Ground, who: &Who, rules: &Rules, keys: &[Key]) -> Trial {
        let program = caller::Program { exe: self.exe.clone(), unit: self.unit.clone() };
        let is_known = program.exe.is_some() || program.unit.is_some();
        let facts = caller::Facts {
            uid: who.uid,
            // What is no group's number is in no rule.
            gid: who.groups.first().copied().unwrap_or(u32::MAX),
            groups: who.groups.get(1..).unwrap_or_default(),
            program: is_known.then_some(&program),
        };
        let actions: BTreeSet<Action> = self.actions.iter().copied().collect();
        let (mut verdicts, mut named) = (Vec::new(), BTreeSet::new());
        let mut refused: BTreeMap<(DenyReason, Action), Vec<&Key>> = BTreeMap::new();
        for key in keys {
            for &action in &actions {
                let decision = rules.policy.decide(&facts, action, key);
                let (rule, reason, help) = match decision {
                    Decision::Allow(rule) => (Some(rule), None, None),
                    Decision::Deny(reason) => {
                        let rule = match &reason {
                            DenyReason::Near { rule, .. } => Some(*rule),
                            DenyReason::NoRule => None,
                        };
                        let (words, help) = (reason.to_string(), rules.help(&reason, who, action, &[key]));
                        refused.entry((reason, action)).or_default().push(key);
                        (rule, Some(words), Some(help))
                    }
                };
                named.extend(rule);
                let variable = key.to_string();
                verdicts.push(Verdict {
                    action: action.as_str(),
                    variable,
                    rule: rule.map(|rule| rule.0),
                    reason,
                    help,
                });
            }
        }
        let fixes = refused.iter().map(|((reason, action), keys)| rules.help(reason, who, *action, keys));
        Trial {
            caller: self.caller(who),
            uid: who.uid,
            groups: who.groups.clone(),
            exe: self.exe.as_ref().map(|exe| exe.display().to_string()),
            unit: self.unit.clone(),
            note: who.note.clone(),
            policy: rules.label.clone(),
            schema: ground.schema.path.to_string(),
            service: ground.service.clone(),
            verdicts,
            rules: named.into_iter().map(|rule| rules.told(rule)).collect(),
            fixes: fixes.collect(),
        }
    }

    /// Who is taken to ask, in words.
    fn caller(&self, who: &Who) -> String {
        let mut words = vec![match &self.user {
            Some(name) => format!("user {name} ({})", who.uid),
            None => format!("uid {}", who.uid),
        }];
        let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        words.push(match who.groups.as_slice() {
            [] => "no groups".to_owned(),
            [one] => format!("group {one}"),
            all => format!("groups {}", list(all)),
        });
        words.extend(self.exe.as_ref().map(|exe| exe.display().to_string()));
        words.extend(self.unit.clone());
        if self.exe.is_none() && self.unit.is_none() {
            words.push("program not known".to_owned());
        }
        words.join(" · ")
    }
}

fn unknown(kind: &str, name: &str, why: Unresolved) -> Failure {
    match why {
        Unresolved::Unknown => Failure::usage(
            format!("there is no {kind} `{name}` on this machine"),
            format!(
                "correct the name, or give the number: --{} …",
                if kind == "user" { "uid" } else { "gid" }
            ),
        ),
        Unresolved::Failed(errno) => Failure::usage(
            format!("the {kind} `{name}` could not be looked up: {errno}"),
            "see whether the name service answers, or give the number",
        ),
    }
}

impl Rules {
    fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.policy.rules().iter().find(|rule| rule.id == id)
    }

    /// A rule, to be looked up.
    fn told(&self, id: RuleId) -> RuleTold {
        let written = self.written.iter().find(|written| written.rule.id == id);
        let place = written.and_then(|written| Some(format!("{}:{}", self.label.as_ref()?, written.line)));
        let description = match written {
            Some(written) => written.description.as_deref().unwrap_or("no description").to_owned(),
            None => format!("implied: the daemon's own user, here uid {}", self.own),
        };
        RuleTold {
            number: id.0,
            line: written.map(|written| written.line),
            place,
            description,
            terms: self.rule(id).map(terms).unwrap_or_default(),
        }
    }

    /// What would have to change.
    fn help(&self, reason: &DenyReason, who: &Who, action: Action, keys: &[&Key]) -> String {
        let uid = who.uid;
        let them = match keys {
            [] | [_, _, _, _, ..] => format!("these {}", plural(keys.len(), "variable")),
            few => few.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", "),
        };
        let (id, lacks) = match reason {
            DenyReason::Near { rule, lacks } if *rule != RuleId(0) => (*rule, lacks),
            DenyReason::Near { .. } => {
                return format!(
                    "write a rule for uid {uid} that permits `{}` of {them}: by itself, the daemon's own user only sees the status",
                    action.as_str()
                );
            }
            DenyReason::NoRule => return self.help_stranger(uid, action, keys, &them),
        };
        let Some(rule) = self.rule(id) else { return String::new() };
        let parts: Vec<String> = lacks.iter().map(|lack| lack_help(*lack, rule, action, &them)).collect();
        parts.join(", and ")
    }

    /// What would have to change for somebody for whom no rule is.
    fn help_stranger(&self, uid: u32, action: Action, keys: &[&Key], them: &str) -> String {
        let permits = |rule: &&Rule| rule.id != RuleId(0) && keys.iter().all(|key| rule.permits(action, key));
        let others: Vec<&Rule> = self.policy.rules().iter().filter(permits).collect();
        let verb = action.as_str();
        match others.as_slice() {
            _ if self.label.is_none() => {
                "name a `policy` in [socket]: without one, only the daemon's own user may ask".to_owned()
            }
            [] => format!("write a rule for uid {uid} that permits `{verb}` of {them}"),
            [rule, ..] => format!(
                "rule {} permits `{verb}` of {them} to {}: run the program so, or write a rule for uid {uid}",
                rule.id,
                whom(rule)
            ),
        }
    }
}

/// For whom a rule is.
fn whom(rule: &Rule) -> String {
    let uid = rule.uid.map(|uid| format!("uid {uid}"));
    let gid = rule.gid.map(|gid| format!("gid {gid}"));
    uid.into_iter().chain(gid).collect::<Vec<_>>().join(" with ")
}

/// What a rule says, on one line.
fn terms(rule: &Rule) -> String {
    let exe = rule.exe.as_ref().map(|exe| exe.display().to_string());
    let actions: Vec<&str> = rule.actions.iter().map(|action| action.as_str()).collect();
    let count = plural(rule.keys.len(), "variable");
    let who = [Some(whom(rule)), exe, rule.unit.clone()].into_iter().flatten();
    who.chain([format!("{} of {count}", actions.join(", "))]).collect::<Vec<_>>().join(" · ")
}

/// What to do about one thing that a rule lacks.
fn lack_help(lack: Lack, rule: &Rule, action: Action, them: &str) -> String {
    let id = rule.id;
    let exe = rule.exe.as_ref().map(|exe| exe.display().to_string()).unwrap_or_default();
    let unit = rule.unit.as_deref().unwrap_or_default();
    match lack {
        Lack::Action => format!(
            "add \"{}\" to the `actions` of rule {id}, which holds for all its variables, or write a rule",
            action.as_str()
        ),
        Lack::Variable => format!("add {them} to the `vars` of rule {id}"),
        Lack::Exe(Unmet::Differs) => format!("run {exe}, or remove the `exe` of rule {id}"),
        Lack::Exe(Unmet::Unknown) => format!("say --exe {exe} to see what rule {id} gives to that program"),
        Lack::Unit(Unmet::Differs) => format!("run it in {unit}, or remove the `unit` of rule {id}"),
        Lack::Unit(Unmet::Unknown) => format!("say --unit {unit} to see what rule {id} gives to that unit"),
        Lack::Group | Lack::User => format!("run it as {}, for whom rule {id} is", whom(rule)),
    }
}
