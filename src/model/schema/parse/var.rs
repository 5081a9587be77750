//! Reading `[var.NAME]`: type and constraints, presence, generation, rotation,
//! and the variables that a rotation implies.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use toml::de::DeValue;

use super::{Defaults, Parser, Scope, did_you_mean};
use crate::model::finding::Code;
use crate::model::key::Key;
use crate::model::schema::kind::{Driver, Kind};
use crate::model::schema::toml_reader::Table;
use crate::model::schema::{Generate, GenerateEncoding, Glob, Presence, Rotation, Strategy, Var};

/// Findings that no variable can silence: what they are about is delivered, or
/// cannot be, whatever the variable's owner thinks.
const NEVER_SILENT: [Code; 5] = [
    Code::EnvironmentDiffers,
    Code::SourceUnreachable,
    Code::NotPermitted,
    Code::Stale,
    Code::NotRepresentable,
];

/// Settings and the state of rotations: no source ever offers them.
const OURS: &str = "DLCONF_";

/// Slots of a ring that does not say.
const DEFAULT_SLOTS: u32 = 9;
/// How many names a warning about many variables lists.
const NAMED: usize = 20;

impl<'t> Parser<'t> {
    pub(super) fn var(
        &self,
        name: &str,
        table: Table<'t>,
        scope: &Scope<'_>,
        defaults: &Defaults,
    ) -> Option<Var> {
        let at = table.at.clone();
        let key = self.key(name, at.clone());
        if name.starts_with(OURS) {
            self.mistakes.error(
                at.clone(),
                format!("{name} is dlconf's own"),
                format!("names that begin with {OURS} are never delivered"),
                Some("call the variable something else".into()),
            );
        }
        let kind = self.kind(&table);
        let secret = table.boolean("secret");
        if secret == Some(false) && kind.as_ref().is_some_and(Kind::is_secret) {
            self.mistakes.error(
                at.clone(),
                format!("{name} is secret by its type"),
                "`secret = false` cannot make it plain",
                Some("use another type, such as string".into()),
            );
        }
        let default = table.string("default");
        let presence = self.presence(&table, scope, default.is_some());
        let services = self.names(&table, "services", scope.services, "service");
        let dialect = self.dialect(&table).unwrap_or(defaults.dialect);
        let on_invalid = self.on_invalid(&table).unwrap_or(defaults.on_invalid);
        let pattern = self.pattern(&table);
        let min_bytes = table.count("min_bytes");
        let generate = self.generate(&table, min_bytes);
        let rotation = self.rotation(&table, table.get("generate").is_some());
        let refuse_stale =
            self.choice(&table, "stale", &[("refuse", true), ("deliver", false)]).unwrap_or(false);
        let allow = self.allow(&table);
        let replaces = self.keys(&table, "replaces").into_iter().map(|(key, _)| key).collect();
        let globs = |field| -> Vec<Glob> {
            let texts = table.strings(field);
            for (text, at) in texts.iter().filter(|(text, _)| text.chars().all(|c| c == '*')) {
                let message = format!("`{field}` of {name}: `{text}` matches every value");
                self.mistakes.error(at.clone(), message, "nothing could ever be set", None);
            }
            texts.iter().map(|(text, _)| Glob::new(text)).collect()
        };
        let (forbid, published) = (globs("forbid"), globs("published"));
        let text = |field| table.string(field).map(|(text, _)| text.into());
        let (fallback, description, example) = (text("fallback"), text("description"), text("example"));
        let max_bytes = table.count("max_bytes");
        table.finish();
        let (key, kind) = (key?, kind?);
        let var = Var {
            secret: secret.unwrap_or(false) || kind.is_secret(),
            presence,
            services,
            default: default.as_ref().map(|(text, _)| (*text).into()),
            fallback,
            min_bytes,
            max_bytes,
            pattern,
            forbid,
            published,
            generate,
            replaces,
            on_invalid,
            dialect,
            refuse_stale,
            rotation,
            description,
            example,
            allow,
            implied_by: None,
            at: self.lines.span(at.start),
            key,
            kind,
        };
        self.judge_default(&var, default.map(|(_, at)| at));
        Some(var)
    }

    /// One warning for all variables without a description, at the first: a
    /// drafted schema has none at all, and what else is wrong must be seen.
    pub(super) fn undescribed(&self, vars: &[Var]) {
        let silent: Vec<&Var> = vars.iter().filter(|var| var.description.is_none()).collect();
        let Some(first) = silent.first() else { return };
        let start = self.lines.offset(first.at);
        let names: Vec<&str> = silent.iter().take(NAMED).map(|var| var.key.as_str()).collect();
        let message = match silent.len() {
            1 => format!("{} has no description", first.key),
            count if count > NAMED => format!(
                "{count} variables have no description: {} and {} more",
                names.join(", "),
                count - NAMED
            ),
            count => format!("{count} variables have no description: {}", names.join(", ")),
        };
        self.mistakes.warning(
            start..start + first.key.as_str().len(),
            message,
            "say what it is for",
            Some("`dlconf schema docs`, `.env.example` and `explain` print it".into()),
        );
    }

    /// A default must be a value that the variable could have.
    fn judge_default(&self, var: &Var, at: Option<Range<usize>>) {
        let (Some(default), Some(at)) = (var.default.as_deref(), at) else { return };
        if var.secret {
            self.mistakes.hidden(
                at,
                format!("{} is secret: a default in a committed file would not be", var.key),
                Some(
                    "use `generate` for development, and `fallback` to say what the program does without it"
                        .into(),
                ),
            );
            return;
        }
        if default.is_empty() {
            self.mistakes.error(
                at,
                format!("the default of {} is empty, and empty is unset", var.key),
                "leave it out",
                Some("write `required = false`".into()),
            );
            return;
        }
        let fits = var.pattern.as_ref().is_none_or(|pattern| pattern.is_match(default));
        match var.kind.judge(default, var.dialect) {
            Err(problem) => self.mistakes.error(
                at,
                format!("the default of {} fails its own type: expected {}", var.key, problem.expected),
                problem.reason,
                problem.works.map(|works| format!("write `{works}`")),
            ),
            Ok(_) if !fits => self.mistakes.error(
                at,
                format!("the default of {} does not match its own pattern", var.key),
                "does not match",
                None,
            ),
            Ok(_) => {}
        }
    }

    fn presence(&self, table: &Table<'t>, scope: &Scope<'_>, has_default: bool) -> Presence {
        let absent = if has_default { Presence::Never } else { Presence::Always };
        let Some(value) = table.get("required") else { return absent };
        match value.get_ref() {
            DeValue::Boolean(true) => Presence::Always,
            DeValue::Boolean(false) => Presence::Never,
            DeValue::Array(_) | DeValue::String(_) => {
                Presence::In(self.names(table, "required", scope.environments, "environment"))
            }
            _ => {
                table.wrong("required", value, "true, false or a list of environments");
                absent
            }
        }
    }

    fn kind(&self, table: &Table<'t>) -> Option<Kind> {
        let Some((name, at)) = table.string("type") else {
            if table.get("type").is_none() {
                self.mistakes.error(
                    table.at.clone(),
                    "this variable has no type".into(),
                    "`type` is missing",
                    Some("`type = \"string\"` takes any text; `dlconf schema lint` knows the others".into()),
                );
            }
            return None;
        };
        let Some(mut kind) = Kind::from_name(name) else {
            self.unknown_type(name, at);
            return None;
        };
        match &mut kind {
            Kind::Int { min, max } => {
                *min = table.integer("min").map(|(n, _)| n);
                *max = table.integer("max").map(|(n, _)| n);
                self.ordered(table, *min <= *max || max.is_none());
            }
            Kind::Float { min, max } => {
                *min = float(table, "min");
                *max = float(table, "max");
                self.ordered(table, !matches!((*min, *max), (Some(min), Some(max)) if min > max));
            }
            Kind::Duration { min, max } => {
                *min = self.seconds(table, "min").map(|s| i128::from(s) * 1_000_000_000);
                *max = self.seconds(table, "max").map(|s| i128::from(s) * 1_000_000_000);
                self.ordered(table, *min <= *max || max.is_none());
            }
            Kind::Url { schemes } => {
                *schemes = table.strings("schemes").iter().map(|(s, _)| (*s).into()).collect();
            }
            Kind::Enum { values } => {
                *values = table.strings("values").iter().map(|(s, _)| (*s).into()).collect();
                if values.is_empty() {
                    self.mistakes.error(
                        at,
                        "an enum needs its `values`".into(),
                        "none are given",
                        Some("write `values = [\"a\", \"b\"]`".into()),
                    );
                }
            }
            Kind::List { of, separator } => {
                if let Some((text, at)) = table.string("separator") {
                    if text.is_empty() {
                        self.mistakes.error(at, "a separator cannot be empty".into(), "empty", None);
                    } else {
                        *separator = text.into();
                    }
                }
                if let Some((inner, at)) = table.string("of") {
                    match Kind::from_name(inner) {
                        Some(Kind::List { .. } | Kind::Enum { .. }) => self.mistakes.error(
                            at,
                            format!("a list cannot be of `{inner}`"),
                            "use a simple type, or `pattern`",
                            None,
                        ),
                        Some(inner) => **of = inner,
                        None => self.unknown_type(inner, at),
                    }
                }
            }
            Kind::Dsn { driver } => {
                let choice = self.choice(
                    table,
                    "driver",
                    &[
                        ("postgres", Driver::Postgres),
                        ("redis", Driver::Redis),
                        ("nats", Driver::Nats),
                        ("amqp", Driver::Amqp),
                    ],
                );
                match choice {
                    Some(choice) => *driver = choice,
                    None if table.get("driver").is_none() => self.mistakes.error(
                        at,
                        "a dsn needs its `driver`".into(),
                        "one of: postgres, redis, nats, amqp",
                        None,
                    ),
                    None => {}
                }
            }
            _ => {}
        }
        Some(kind)
    }

    fn ordered(&self, table: &Table<'t>, ordered: bool) {
        if !ordered && let Some(max) = table.get("max") {
            let message = format!("`min` of {} is above its `max`", table.subject());
            self.mistakes.error(max.span(), message, "no value lies between", None);
        }
    }

    fn unknown_type(&self, name: &str, at: Range<usize>) {
        self.mistakes.error(
            at,
            format!("there is no type `{name}`"),
            "unknown type",
            did_you_mean(name, Kind::NAMES)
                .or_else(|| Some(format!("known are: {}", Kind::NAMES.join(", ")))),
        );
    }

    /// A span of time as the schema writes it: `30d`, `8h`, `15m`, `90s`, `2w`.
    fn seconds(&self, table: &Table<'t>, field: &'static str) -> Option<u64> {
        let (text, at) = table.string(field)?;
        let seconds = schema_seconds(text);
        if seconds.is_none() {
            self.mistakes.error(
                at,
                format!("`{field}` must be a span of time"),
                "a number with a unit: s, m, h, d or w",
                Some("write `\"30d\"` or `\"15m\"`".into()),
            );
        }
        seconds
    }

    fn pattern(&self, table: &Table<'t>) -> Option<regex::Regex> {
        let (text, at) = table.string("pattern")?;
        // The whole value must match: a half-matching pattern surprises people.
        match regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 20).build() {
            Ok(pattern) => Some(pattern),
            Err(_) => {
                self.mistakes.error(
                    at,
                    "this pattern is no regular expression".into(),
                    "does not compile",
                    Some("it follows the syntax of Rust's regex crate; look-around is not part of it".into()),
                );
                None
            }
        }
    }

    fn generate(&self, table: &Table<'t>, min_bytes: Option<usize>) -> Option<Generate> {
        let (text, at) = table.string("generate")?;
        let parts = text.split_once(':').and_then(|(encoding, bytes)| {
            let encoding = match encoding {
                "base64url" => GenerateEncoding::Base64Url,
                "base64" => GenerateEncoding::Base64,
                "hex" => GenerateEncoding::Hex,
                _ => return None,
            };
            Some(Generate { encoding, bytes: bytes.parse().ok().filter(|n| (16..=1024).contains(n))? })
        });
        let Some(generate) = parts else {
            self.mistakes.error(
                at,
                "`generate` names an encoding and a number of random bytes".into(),
                "base64url, base64 or hex; 16 to 1024 bytes",
                Some("write `\"base64url:48\"`".into()),
            );
            return None;
        };
        if min_bytes.is_some_and(|min| generate.text_len() < min) {
            self.mistakes.error(
                at,
                format!("what is generated has {} bytes, fewer than `min_bytes`", generate.text_len()),
                "too short for the variable itself",
                None,
            );
        }
        Some(generate)
    }

    fn rotation(&self, table: &Table<'t>, generates: bool) -> Option<Rotation> {
        let inner = table.table("rotation", format!("the rotation of {}", table.subject()))?;
        let strategy = self.choice(
            &inner,
            "strategy",
            &[
                ("overlap", Strategy::Overlap),
                ("ring", Strategy::Ring),
                ("supplied", Strategy::Supplied),
                ("dynamic", Strategy::Dynamic),
                ("static-role", Strategy::StaticRole),
                ("manual", Strategy::Manual),
            ],
        );
        let at = inner.at.clone();
        if strategy.is_none() && inner.get("strategy").is_none() {
            self.mistakes.error(
                at.clone(),
                "a rotation needs its `strategy`".into(),
                "one of: overlap, ring, supplied, dynamic, static-role, manual",
                None,
            );
        }
        let every = self.seconds(&inner, "every");
        let overlap = self.seconds(&inner, "overlap");
        let slots = inner.count("slots").and_then(|n| u32::try_from(n).ok());
        let reason: Option<Box<str>> = inner.string("reason").map(|(text, _)| text.into());
        let tokens: Vec<Key> = self.keys(&inner, "tokens").into_iter().map(|(key, _)| key).collect();
        inner.finish();
        let strategy = strategy?;
        let complain = |message: &str, label: &str, help: &str| {
            self.mistakes.error(at.clone(), message.into(), label, Some(help.into()));
        };
        match strategy {
            Strategy::Overlap | Strategy::Ring if !generates => complain(
                "dlconf cannot make the next key",
                "this strategy needs `generate`",
                "write `generate = \"base64url:48\"` on the variable, or use strategy \"supplied\"",
            ),
            Strategy::Overlap if overlap.is_none() => complain(
                "nothing says how long the previous key stays valid",
                "`overlap` is missing",
                "write the longest life of what the key signs, and a day: `overlap = \"8d\"`",
            ),
            Strategy::Overlap if every.is_some_and(|every| Some(every) <= overlap) => complain(
                "the next rotation would begin before the previous key retires",
                "`every` must be longer than `overlap`",
                "make `every` longer",
            ),
            Strategy::Overlap => {}
            _ if !tokens.is_empty() => complain(
                "only a key that is retired must outlive what it signed",
                "`tokens` belongs to strategy \"overlap\"",
                "remove `tokens`",
            ),
            Strategy::Ring if slots.is_some_and(|slots| !(2..=99).contains(&slots)) => {
                complain("a ring has 2 to 99 slots", "out of range", "write `slots = 9`");
            }
            Strategy::Manual if reason.is_none() => complain(
                "nothing says why this must not be rotated by a program",
                "`reason` is missing",
                "write the reason: it is what `dlconf rotate` answers",
            ),
            _ => {}
        }
        // A number out of range has its mistake, and makes no variables.
        let slots = slots.filter(|slots| (2..=99).contains(slots));
        Some(Rotation { strategy, every, overlap, slots, tokens, reason })
    }

    /// Judges what says how long keys' signatures live.
    pub(super) fn tokens(&self, vars: &[Var], index: &HashMap<Key, usize>) {
        for var in vars {
            for token in var.rotation.iter().flat_map(|rotation| &rotation.tokens) {
                let lifetime = index.get(token).and_then(|&at| vars.get(at));
                let (label, help) = match lifetime.map(|lifetime| &lifetime.kind) {
                    Some(Kind::Duration { .. }) => continue,
                    Some(_) => ("it is no duration", Some("give it `type = \"duration\"`".to_owned())),
                    None => {
                        let names: Vec<&str> = index.keys().map(Key::as_str).collect();
                        ("no variable is called so", did_you_mean(token.as_str(), &names))
                    }
                };
                self.mistakes.error(
                    self.offset(var.at),
                    format!("{token} cannot say how long lives what {} signs", var.key),
                    label,
                    help,
                );
            }
        }
    }

    fn allow(&self, table: &Table<'t>) -> BTreeMap<Code, Box<str>> {
        let Some(inner) = table.table("allow", "`allow`") else { return BTreeMap::new() };
        let mut allow = BTreeMap::new();
        for (name, at, value) in inner.fields() {
            let Ok(code) = name.parse::<Code>() else {
                self.mistakes.error(
                    at,
                    format!("there is no finding `{name}`"),
                    "unknown code",
                    Some("`dlconf explain DLC021` shows one; codes are DLC001 to DLC080".into()),
                );
                continue;
            };
            if NEVER_SILENT.contains(&code) {
                self.mistakes.error(
                    at,
                    format!("{code} cannot be silenced"),
                    "it is about more than this variable",
                    Some(format!("`dlconf explain {code}` says how to mend it")),
                );
                continue;
            }
            match value.get_ref().as_str().filter(|reason| !reason.trim().is_empty()) {
                Some(reason) => {
                    allow.insert(code, reason.into());
                }
                None => self.mistakes.error(
                    value.span(),
                    format!("silencing {code} needs a reason"),
                    "write why, for whoever reads this in a year",
                    None,
                ),
            }
        }
        allow
    }
}

fn float(table: &Table<'_>, field: &'static str) -> Option<f64> {
    let value = table.get(field)?;
    let number = match value.get_ref() {
        DeValue::Float(float) => float.as_str().parse().ok(),
        DeValue::Integer(int) => int.as_str().parse().ok(),
        _ => None,
    };
    if number.is_none() {
        table.wrong(field, value, "a number");
    }
    number
}

/// The variables that a rotation implies, after their owner.
pub(super) fn implied(var: &Var) -> Vec<Var> {
    let Some(rotation) = &var.rotation else { return Vec::new() };
    let like = |suffix: &str, description: String| -> Option<Var> {
        Some(Var {
            key: Key::new(&format!("{}_{suffix}", var.key)).ok()?,
            kind: var.kind.clone(),
            secret: var.secret,
            presence: Presence::Never,
            services: var.services.clone(),
            default: None,
            fallback: None,
            min_bytes: var.min_bytes,
            max_bytes: var.max_bytes,
            pattern: var.pattern.clone(),
            forbid: var.forbid.clone(),
            published: var.published.clone(),
            generate: None,
            replaces: Vec::new(),
            on_invalid: var.on_invalid,
            dialect: var.dialect,
            refuse_stale: var.refuse_stale,
            rotation: None,
            description: Some(description.into()),
            example: None,
            allow: var.allow.clone(),
            implied_by: Some(var.key.clone()),
            at: var.at,
        })
    };
    match rotation.strategy {
        Strategy::Overlap => {
            let next = like("NEXT", format!("The key that follows {}: verify with it, never sign.", var.key));
            let previous =
                like("PREVIOUS", format!("The key before {}: verify with it, never sign.", var.key));
            next.into_iter().chain(previous).collect()
        }
        Strategy::Ring => {
            let slots = rotation.slots.unwrap_or(DEFAULT_SLOTS);
            let mut all: Vec<Var> = (1..=slots)
                .filter_map(|n| like(&n.to_string(), format!("Key {n} in the ring of {}.", var.key)))
                .collect();
            let active = like("ACTIVE", format!("The number of the key of {} that signs.", var.key));
            all.extend(active.map(|active| Var {
                kind: Kind::Int { min: Some(1), max: Some(i64::from(slots)) },
                secret: false,
                min_bytes: None,
                max_bytes: None,
                pattern: None,
                forbid: Vec::new(),
                published: Vec::new(),
                ..active
            }));
            all
        }
        Strategy::Supplied | Strategy::Dynamic | Strategy::StaticRole | Strategy::Manual => Vec::new(),
    }
}

/// `30d`, `8h`, `15m`, `90s`, `2w`, `1d12h` in seconds.
fn schema_seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let unit = match rest.as_bytes().get(digits)? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest.get(digits + 1..)?;
    }
    (!text.is_empty()).then_some(total)
}
