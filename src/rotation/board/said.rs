//! What a note says: the acknowledgement of one instance, as JSON. Value-free.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::kubernetes::Name as LeaseName;
use crate::model::key::Key;
use crate::rotation::consumers::{Acknowledgement, InvalidName, Known, Name, Use};
use crate::status::ChildHealth;

/// The longest name of a consumer that a Lease's name repeats, and that is understood.
const CONSUMER_BYTES: usize = 63;

/// What is known of one instance, to be said to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidOfInstance {
    /// The consumer.
    pub consumer: Box<str>,
    /// The user that said it, on its own machine.
    pub uid: u32,
    /// What it said.
    pub said: Acknowledgement,
    /// Whether nothing of what it runs has changed since.
    pub current: bool,
}

/// The text of it.
#[derive(Serialize, Deserialize)]
struct Text {
    consumer: String,
    instance: String,
    uid: u32,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<String>,
    current: bool,
    runs: BTreeMap<String, Keys>,
}

#[derive(Serialize, Deserialize)]
struct Keys {
    verifies: Vec<String>,
    #[serde(default)]
    signs: Option<String>,
}

impl SaidOfInstance {
    /// Of what this daemon knows.
    pub fn new(consumer: &str, known: &Known, current: bool) -> Self {
        Self { consumer: consumer.into(), uid: known.uid, said: known.said.clone(), current }
    }

    /// One line of JSON.
    pub(super) fn to_text(&self) -> String {
        let name = |name: &Name| name.as_str().to_owned();
        let runs = self.said.runs.iter().map(|(key, used)| {
            let verifies = used.verifies.iter().map(name).collect();
            (key.to_string(), Keys { verifies, signs: used.signs.as_ref().map(name) })
        });
        let text = Text {
            consumer: self.consumer.to_string(),
            instance: name(&self.said.instance),
            uid: self.uid,
            version: name(&self.said.version),
            health: self.said.health.map(|health| health.as_str().to_owned()),
            current: self.current,
            runs: runs.collect(),
        };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Understands a text; none where it is no such text, or longer than any is.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text: Text = serde_json::from_str(text).ok()?;
        let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let consumer = text.consumer;
        if consumer.is_empty() || consumer.len() > 4 * CONSUMER_BYTES || !consumer.bytes().all(is_plain) {
            return None;
        }
        let mut runs = BTreeMap::new();
        for (key, keys) in &text.runs {
            let verifies: Result<Vec<Name>, InvalidName> =
                keys.verifies.iter().map(|kid| Name::new(kid)).collect();
            let signs = keys.signs.as_deref().map(Name::new).transpose();
            runs.insert(Key::new(key).ok()?, Use { verifies: verifies.ok()?, signs: signs.ok()? });
        }
        let said = Acknowledgement {
            instance: Name::new(&text.instance).ok()?,
            version: Name::new(&text.version).ok()?,
            runs,
            // A word of a later release says nothing to us, and blocks nothing.
            health: text.health.as_deref().and_then(ChildHealth::of),
        };
        let said = Self { consumer: consumer.into(), uid: text.uid, said, current: text.current };
        (!said.said.is_too_long()).then_some(said)
    }

    /// The name of its Lease: as short as a name may be, whatever the consumer is called.
    pub(super) fn lease(&self, prefix: &LeaseName) -> Option<LeaseName> {
        let mut hash = Sha256::new();
        hash.update(self.consumer.as_bytes());
        hash.update([0]);
        hash.update(self.said.instance.as_str().as_bytes());
        let digest = hash.finalize();
        let short = digest.iter().take(8).fold(0_u64, |short, byte| short << 8 | u64::from(*byte));
        let plain = |character: char| {
            let character = character.to_ascii_lowercase();
            if character.is_ascii_lowercase() || character.is_ascii_digit() { character } else { '-' }
        };
        let consumer: String = self.consumer.chars().take(CONSUMER_BYTES).map(plain).collect();
        match consumer.trim_matches('-') {
            "" => LeaseName::object(&format!("{prefix}-{short:016x}")),
            consumer => LeaseName::object(&format!("{prefix}-{consumer}-{short:016x}")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::rotation::board) fn said(consumer: &str, instance: &str, kid: &str) -> SaidOfInstance {
        let kid = Name::new(kid).unwrap();
        let used = Use { verifies: vec![kid.clone()], signs: Some(kid) };
        SaidOfInstance {
            consumer: consumer.into(),
            uid: 1000,
            said: Acknowledgement {
                instance: Name::new(instance).unwrap(),
                runs: BTreeMap::from([(Key::new("JWT_SECRET").unwrap(), used)]),
                version: Name::new("7f3a.42").unwrap(),
                health: Some(ChildHealth::Healthy),
            },
            current: true,
        }
    }

    #[test]
    fn a_text_comes_back() {
        let said = said("cc", "api-7c9f", "k1");
        expect_test::expect![[
            r#"{"consumer":"cc","instance":"api-7c9f","uid":1000,"version":"7f3a.42","health":"healthy","current":true,"runs":{"JWT_SECRET":{"verifies":["k1"],"signs":"k1"}}}"#
        ]]
        .assert_eq(&said.to_text());
        assert_eq!(SaidOfInstance::parse(&said.to_text()), Some(said));
    }

    #[test]
    fn what_a_later_release_adds_is_passed_over() {
        let text = said("cc", "a", "k1")
            .to_text()
            .replace("healthy", "dozing")
            .replace("\"uid\"", "\"new\":1,\"uid\"");
        assert_eq!(SaidOfInstance::parse(&text).unwrap().said.health, None);
    }

    #[test]
    fn what_is_no_such_text_is_not_understood() {
        let fine = said("cc", "a", "k1").to_text();
        for (from, to) in [
            ("{\"consumer\"", "{\"other\""),
            ("\"cc\"", "\"\""),
            ("\"cc\"", "\"c\\nc\""),
            ("[\"k1\"]", "[\"k 1\"]"),
            ("[\"k1\"]", "7"),
            ("JWT_SECRET", "JWT SECRET"),
            ("\"a\"", "\"a/b\""),
        ] {
            assert!(fine.contains(from), "{from}");
            assert_eq!(SaidOfInstance::parse(&fine.replace(from, to)), None, "{from} -> {to}");
        }
        let ring = vec!["\"k\""; 17].join(",");
        assert_eq!(SaidOfInstance::parse(&fine.replace("[\"k1\"]", &format!("[{ring}]"))), None);
    }

    #[test]
    fn every_instance_has_a_name_that_the_api_takes() {
        let prefix = LeaseName::object("shop-acks").unwrap();
        let name = |consumer: &str, instance: &str| {
            said(consumer, instance, "k").lease(&prefix).unwrap().as_str().to_owned()
        };
        assert_eq!(name("cc", "api-7c9f"), "shop-acks-cc-1090820369450f67");
        assert_eq!(name("Über_API ", "a").split_at(18).0, "shop-acks-ber-api-");
        assert_ne!(name("a_b", "x"), name("a-b", "x"));
        assert_ne!(name("ab", "c"), name("a", "bc"));
        assert!(name(&"x".repeat(300), "y").len() < 253);
        assert!(name("__", "y").starts_with("shop-acks-"));
    }
}
