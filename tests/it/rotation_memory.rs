//! A thousand rotations leave no retired key in the memory of the process that did them.
//!
//! The test is that process, and its allocator wipes as the program's does. What it needs
//! to recognise a key by, it keeps in disguise: a needle is nowhere as such.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::Value;
use dlconf::model::rotation::Slot;
use dlconf::model::schema::{Generate, GenerateEncoding, Rotation, Strategy};
use dlconf::model::secret::SecretValue;
use dlconf::probe::Probed;
use dlconf::rotation::clock::Clock;
use dlconf::rotation::course::{Act, Order, Wish};
use dlconf::rotation::engine::{Rotator, Tended, Terms};
use dlconf::rotation::estate::{Estate, Giver, Hearing, Prober, Rotating};
use dlconf::rotation::roll_call::{Expected, Heard, Verifies};
use dlconf::source::dotenv::{DotenvSource, EnvFile};
use dlconf::source::{Ask, Source};
use dlconf::telemetry::{Event, Listener};
use tokio::sync::watch;

const ROTATIONS: usize = 1000;

/// Of which the key is kept, so that the scan has something to find.
const KEPT: usize = 500;

/// Under each byte of what is kept: no letter of a key is one under it.
const DISGUISE: u8 = 0xa5;

/// As many bytes of a key are looked up first.
const HEAD: usize = 8;

const OVERLAP: u64 = 3600;

/// It goes as fast as the test says.
struct Hands(AtomicU64);

impl Clock for Hands {
    fn wall(&self) -> u64 {
        1_800_000_000 + self.0.load(Ordering::SeqCst)
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A file that gives the key, as a daemon would have read it.
struct House {
    key: Key,
    source: Arc<DotenvSource>,
    value: Mutex<Arc<SecretValue>>,
}

#[async_trait]
impl Estate for House {
    fn rotating(&self) -> Vec<Rotating> {
        vec![Rotating {
            key: self.key.clone(),
            rotation: Rotation {
                strategy: Strategy::Overlap,
                every: None,
                overlap: Some(OVERLAP),
                slots: None,
                tokens: Vec::new(),
                reason: None,
            },
            generate: Some(Generate { encoding: GenerateEncoding::Base64Url, bytes: 48 }),
            token_life: None,
            expected: vec![Expected { consumer: "cc".into(), instances: 1, verifies: Verifies::Ring }],
            undeclared: Vec::new(),
        }]
    }

    fn giver(&self, _: &Key) -> Option<Giver> {
        Some(Giver {
            source: Arc::clone(&self.source) as _,
            place: ".env".into(),
            value: Arc::clone(&self.value.lock().unwrap()),
            below: Vec::new(),
            strays: Vec::new(),
        })
    }

    fn judge(&self, _: &[(Key, Arc<SecretValue>)]) -> Vec<String> {
        Vec::new()
    }

    async fn moved(&self) {
        std::future::pending::<()>().await;
    }
}

/// Whoever is heard runs what is there.
#[derive(Default)]
struct Crowd(Mutex<Vec<Heard>>);

#[async_trait]
impl Hearing for Crowd {
    async fn heard(&self, _: &Key) -> Result<Vec<Heard>, String> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn moved(&self) {
        std::future::pending::<()>().await;
    }
}

struct NoProbe;

#[async_trait]
impl Prober for NoProbe {
    async fn probe(&self, _: &Key, _: &SecretValue) -> Option<Probed> {
        None
    }
}

struct Nobody;

impl Listener for Nobody {
    fn tell(&self, _: Event) {}
}

struct Scene {
    key: Key,
    names: BTreeSet<Key>,
    source: Arc<DotenvSource>,
    house: Arc<House>,
    crowd: Arc<Crowd>,
    clock: Arc<Hands>,
    rotator: Rotator,
    _leads: watch::Sender<bool>,
}

impl Scene {
    fn over(path: &Path) -> Self {
        let file = EnvFile { path: path.to_owned(), label: ".env".into(), optional: false, beneath: None };
        let source = Arc::new(DotenvSource::new(SourceName::new("local"), vec![file]));
        let key = Key::new("JWT_SECRET").unwrap();
        let value = Mutex::new(Arc::new(SecretValue::from("not read yet")));
        let house = Arc::new(House { key: key.clone(), source: Arc::clone(&source), value });
        let crowd = Arc::new(Crowd::default());
        let clock = Arc::new(Hands(AtomicU64::new(0)));
        let leads = watch::Sender::new(true);
        let rotator = Rotator::new(
            Arc::clone(&house) as _,
            Arc::clone(&crowd) as _,
            Arc::new(NoProbe),
            Arc::clone(&clock) as _,
            leads.subscribe(),
            Terms { enabled: true, windows: Vec::new() },
            Arc::new(Nobody),
        );
        let names = [Slot::Current, Slot::Next, Slot::Previous];
        let names = names.iter().map(|slot| slot.key(&key).unwrap()).collect();
        Self { key, names, source, house, crowd, clock, rotator, _leads: leads }
    }

    /// Publishes what is in the file and acknowledges all of it. What stands in the slot.
    async fn catch_up(&self, slot: Slot) -> Option<Arc<SecretValue>> {
        let ask = Ask { known: &self.names, names_only: false, retry: false };
        let layer = self.source.fetch(ask).await.unwrap();
        let offer = layer.offers.iter().rfind(|offer| offer.key == self.key).unwrap();
        let Value::Literal(value) = &offer.value else { panic!("the key is a template") };
        *self.house.value.lock().unwrap() = Arc::clone(value);
        let document = self.source.writable().unwrap().open(&self.key).await.unwrap();
        let progress = document.progress().unwrap();
        *self.crowd.0.lock().unwrap() = vec![Heard {
            consumer: "cc".into(),
            instance: "cc-1".into(),
            verifies: progress.keys.values().map(|note| note.kid.clone()).collect(),
            signs: progress.kid(Slot::Current).cloned(),
            current: true,
        }];
        document.values.get(&slot).cloned()
    }

    /// One whole rotation: the key that it retired.
    async fn rotate(&self) -> Arc<SecretValue> {
        let order = Order { wish: Wish::Rotate, accept_logout: false, take_over: false, reason: None };
        self.rotator.order(&self.key, order, None, false).await.unwrap();
        let mut old = None;
        for _ in 0..8 {
            let previous = self.catch_up(Slot::Previous).await;
            old = previous.or(old);
            match self.rotator.tend(&self.key).await {
                Tended::Did(Act::Retire) => {
                    assert!(self.catch_up(Slot::Previous).await.is_none());
                    return old.expect("it was there before");
                }
                Tended::Did(_) => {}
                Tended::Rests(Some(_)) => {
                    self.clock.0.fetch_add(OVERLAP + 1, Ordering::SeqCst);
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("it never came to its end");
    }
}

/// Keys in disguise.
#[derive(Default)]
struct Needles {
    /// By their first bytes: the rest of each, and its number.
    by_head: BTreeMap<[u8; HEAD], Vec<(Vec<u8>, usize)>>,
    longest: usize,
}

impl Needles {
    fn add(&mut self, number: usize, key: &SecretValue) {
        let mut disguised = key.expose().bytes().map(|byte| byte ^ DISGUISE);
        let mut head = [0; HEAD];
        for place in &mut head {
            *place = disguised.next().unwrap();
        }
        self.by_head.entry(head).or_default().push((disguised.collect(), number));
        self.longest = self.longest.max(key.len());
    }

    /// The numbers of those that begin in the text, before `end`.
    fn found_in(&self, text: &[u8], end: usize, found: &mut BTreeMap<usize, usize>) {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let mut run = 0;
        for (at, &byte) in text.iter().enumerate() {
            run = if is_letter(byte) { run + 1 } else { 0 };
            if run < HEAD || at + 1 - HEAD >= end {
                continue;
            }
            let mut head = [0; HEAD];
            let begin = at + 1 - HEAD;
            head.iter_mut().zip(&text[begin..]).for_each(|(place, byte)| *place = byte ^ DISGUISE);
            for (rest, number) in self.by_head.get(&head).into_iter().flatten() {
                let mut here = text[at + 1..].iter().map(|byte| byte ^ DISGUISE);
                if rest.iter().all(|byte| here.next() == Some(*byte)) {
                    *found.entry(*number).or_default() += 1;
                }
            }
        }
    }

    /// How often each stands in what this process can write to.
    fn in_memory(&self) -> (BTreeMap<usize, usize>, usize) {
        const STEP: usize = 1 << 20;
        let memory = File::open("/proc/self/mem").unwrap();
        // What it has read it must not find there again: it is wiped after each piece.
        let mut piece = vec![0; STEP + self.longest];
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let mut words = line.split_whitespace();
            let (start, end) = words.next().unwrap().split_once('-').unwrap();
            let [mut at, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            if !words.next().unwrap().starts_with("rw") {
                continue;
            }
            while at < end {
                let wanted = piece.len().min(usize::try_from(end - at).unwrap());
                // A mapping may be gone again by now.
                let Ok(count @ 1..) = memory.read_at(&mut piece[..wanted], at) else { break };
                let step = count.min(STEP);
                self.found_in(&piece[..count], step, &mut found);
                piece[..count].fill(0);
                bytes += step;
                at += step as u64;
            }
        }
        (found, bytes)
    }
}

#[test]
fn a_thousand_rotations_leave_no_retired_key_in_memory() {
    let begun = Instant::now();
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join(".env");
    let text = b"BESIDE=stays\nJWT_SECRET=first-Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE81\n";
    File::create(&path).unwrap().write_all(text).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = Scene::over(&path);
    let mut needles = Needles::default();
    let mut kept = None;
    // The first one is in the text of this test, and so in the program.
    drop(runtime.block_on(scene.rotate()));
    for number in 1..=ROTATIONS {
        let old = runtime.block_on(scene.rotate());
        needles.add(number, &old);
        if number == KEPT {
            kept = Some(old);
        }
    }
    assert_eq!(needles.by_head.values().map(Vec::len).sum::<usize>(), ROTATIONS, "each is another");
    needles.add(0, &scene.house.value.lock().unwrap().clone());

    let (found, bytes) = needles.in_memory();
    assert!(bytes > 1_000_000, "{bytes} bytes were read");
    assert!(found.get(&0).is_some_and(|&times| times > 0), "the key that lives is found: {found:?}");
    assert!(found.contains_key(&KEPT), "a key that somebody keeps is found: {found:?}");
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, KEPT], "and no other: {found:?}");
    // Once nobody keeps it, it is gone too.
    drop(kept);
    let (found, _) = needles.in_memory();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0], "{found:?}");
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}
