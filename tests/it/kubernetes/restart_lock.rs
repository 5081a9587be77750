//! `run --watch --restart-lock`: three replicas over a Lease. Each writes down when it
//! goes down and when it works; of two, these times never overlap.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::cluster::{Cluster, everywhere};
use super::fake::Fault;
use crate::bao::poll;
use crate::daemon::{AT_ONCE, Daemon};
use crate::program::{Folder, Ran};
use crate::supervised::{Supervised, folder, set};

const LEASE: &str = "lease/shop";

/// Says when it is started, when it works and when it is told to end. With a token
/// `slow…` it works once there is a file `go`, with `bad…` never.
const SCRIPT: &str = r#"
says() { echo "$(date +%s%N) $1 $TOKEN"; }
# TERM is heard at once, and whoever kills the shell leaves nothing for long.
stays() { while :; do sleep 1 & wait $!; done; }
trap 'says down; exit 0' TERM
says start
case "$TOKEN" in
bad*) stays ;;
slow*) until [ -e go ]; do sleep 0.1; done ;;
*) sleep 0.5 ;;
esac
says up
touch works-$$
stays
"#;

/// What the script says when it works is there before this looks.
const HEALTHY: &str = "sh -c 'test -e works-$DLCONF_PID'";

const WRITES: [&str; 3] = ["get", "create", "update"];

/// One of several that are the same.
struct Replica<'f> {
    supervised: Supervised<'f>,
    folder: &'f Folder,
}

/// A line of the script: nanoseconds, `start`, `up` or `down`, the token.
type Said = (u128, String, String);

impl<'f> Replica<'f> {
    fn start(cluster: &Cluster, folder: &'f Folder, name: &str) -> Self {
        Self::start_with(cluster, folder, name, &["--healthy-timeout", "60s"])
    }

    fn start_with(cluster: &Cluster, folder: &'f Folder, name: &str, options: &[&str]) -> Self {
        let kubeconfig = cluster.kubeconfig();
        let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap()), ("HOSTNAME", name)];
        let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
        let options = [&["--restart-lock", LEASE, "--healthy", HEALTHY, "-v"], options].concat();
        let supervised = Supervised::start_in(runtime, folder, &options, SCRIPT, &environment);
        Self { supervised, folder }
    }

    fn said(&self) -> Vec<Said> {
        let lines = self.supervised.said();
        let words = lines.iter().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.to_owned(), words.next()?.to_owned()))
        });
        words.collect()
    }

    fn has_said(&self, what: &str, token: &str) -> Option<u128> {
        let said = self.said();
        said.iter().find(|(_, said, with)| said == what && with == token).map(|(at, ..)| *at)
    }

    /// Waits until it says that; when it did.
    #[track_caller]
    fn says(&self, what: &str, token: &str) -> u128 {
        self.supervised.until(&format!("{what} {token}"), || self.has_said(what, token))
    }

    #[track_caller]
    fn tells(&self, text: &str) {
        self.supervised.tells(text);
    }

    fn set(&self, token: &str) {
        set(self.folder, token);
    }

    /// From when it went down to when it worked, each time.
    fn gaps(&self) -> Vec<(u128, u128)> {
        let mut gaps = Vec::new();
        let mut down = None;
        for (at, what, _) in self.said() {
            match what.as_str() {
                "down" => down = down.or(Some(at)),
                "up" => gaps.extend(down.take().map(|down| (down, at))),
                _ => {}
            }
        }
        gaps
    }
}

/// That they were never down at the same time; all of these times, in order.
#[track_caller]
fn one_after_the_other(replicas: &[Replica<'_>]) -> Vec<(u128, u128)> {
    let mut gaps: Vec<(u128, u128)> = replicas.iter().flat_map(Replica::gaps).collect();
    gaps.sort_unstable();
    for pair in gaps.windows(2) {
        let said: Vec<_> = replicas.iter().map(Replica::said).collect();
        assert!(pair[0].1 <= pair[1].0, "two at once: {pair:?}\n{said:#?}");
    }
    gaps
}

fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
}

fn path(cluster: &Cluster) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/shop", cluster.namespace)
}

fn spec(cluster: &Cluster) -> Value {
    cluster.admin.get(&path(cluster)).fine()["spec"].clone()
}

fn holder(cluster: &Cluster) -> String {
    let answer = cluster.admin.get(&path(cluster));
    if answer.status == 404 {
        return String::new();
    }
    answer.fine()["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the Lease's holder begins so; nobody's is empty.
#[track_caller]
fn is_held_by(cluster: &Cluster, start: &str) {
    let is_so = || match (start, holder(cluster)) {
        ("", holder) => holder.is_empty().then_some(()),
        (start, holder) => holder.starts_with(start).then_some(()),
    };
    assert!(poll(is_so).is_some(), "{start:?} was to hold it: {}", spec(cluster));
}

/// What `dlconf rbac --restart-lock lease/shop` prints, for the account of the tests.
fn permit(cluster: &Cluster) {
    let rules = json!([
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] },
        {
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "resourceNames": ["shop"], "verbs": ["get", "update"],
        },
    ]);
    let role = json!({ "metadata": { "name": "reader" }, "rules": rules });
    let all = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", cluster.namespace);
    cluster.admin.post(&all, &role).fine();
    if cluster.recorder().is_some() {
        return;
    }
    // A real server believes its Roles a moment later.
    for verb in WRITES {
        let attributes = json!({
            "verb": verb, "group": "coordination.k8s.io", "resource": "leases",
            "namespace": cluster.namespace, "name": if verb == "create" { "" } else { "shop" },
        });
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{}:reader", cluster.namespace),
                "resourceAttributes": attributes,
            },
        });
        let allowed = poll(|| {
            let answer = cluster.admin.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review);
            (answer.fine()["status"]["allowed"] == true).then_some(())
        });
        assert!(allowed.is_some(), "{verb} is not permitted");
    }
}

fn folders<const N: usize>() -> [Folder; N] {
    std::array::from_fn(|_| folder("one"))
}

/// Replicas that work with `one`.
fn working<'f, const N: usize>(
    cluster: &Cluster,
    folders: &'f [Folder; N],
    options: &[&str],
) -> [Replica<'f>; N] {
    let names = ["shop-0", "shop-1", "shop-2"];
    let replicas =
        std::array::from_fn(|index| Replica::start_with(cluster, &folders[index], names[index], options));
    for replica in &replicas {
        replica.tells("sh works");
    }
    replicas
}

#[test]
fn three_replicas_restart_one_after_the_other() {
    everywhere(|cluster| {
        permit(cluster);
        let folders = folders::<3>();
        let replicas = working(cluster, &folders, &[]);
        assert_eq!(cluster.admin.get(&path(cluster)).status, 404, "the first start waits for nobody");
        for replica in &replicas {
            replica.set("two");
        }
        // Somebody else's word in the object stays, and is in nobody's way.
        let labelled = poll(|| {
            let label = json!({ "metadata": { "labels": { "tests/label": "x" } } });
            (cluster.admin.merge(&path(cluster), &label).status == 200).then_some(())
        });
        assert!(labelled.is_some());
        for replica in &replicas {
            replica.says("up", "two");
        }
        assert_eq!(one_after_the_other(&replicas).len(), 3);
        is_held_by(cluster, "");
        let lease = cluster.admin.get(&path(cluster)).fine();
        assert_eq!(lease["metadata"]["labels"]["tests/label"], "x");
        let spec = &lease["spec"];
        assert_eq!(
            (&spec["leaseDurationSeconds"], &spec["leaseTransitions"]),
            (&json!(15), &json!(2)),
            "{spec}"
        );
        for replica in &replicas {
            assert_eq!(replica.supervised.stops(), 0);
            let log = replica.supervised.log();
            assert!(!log.contains("error") && !log.contains("warning"), "{log}");
        }
        assert_eq!(one_after_the_other(&replicas).len(), 3, "that all end at once is somebody else's wish");
    });
}

/// What one daemon publishes reaches all of them at the same moment.
#[test]
fn replicas_over_one_daemon_restart_one_after_the_other() {
    everywhere(|cluster| {
        permit(cluster);
        let home = folder("one");
        let settings = "environment = \"development\"\n[socket]\npath = \"dlconf.sock\"\n";
        home.file("dlconf.toml", &format!("{settings}[ops]\nlisten = \"unix:ops.sock\"\n{AT_ONCE}"));
        let _daemon = Daemon::ready(&home);
        let folders: [Folder; 3] = std::array::from_fn(|_| Folder::new());
        let socket = home.join("dlconf.sock");
        let replicas = working(cluster, &folders, &["--socket", socket.to_str().unwrap()]);
        set(&home, "two");
        for replica in &replicas {
            replica.says("up", "two");
        }
        assert_eq!(one_after_the_other(&replicas).len(), 3);
        is_held_by(cluster, "");
    });
}

#[test]
fn values_that_are_refused_are_tried_one_after_the_other() {
    everywhere(|cluster| {
        permit(cluster);
        let folders = folders::<3>();
        let replicas = working(cluster, &folders, &["--healthy-timeout", "1s"]);
        for replica in &replicas {
            replica.set("bad");
        }
        for replica in &replicas {
            replica.tells("works again, with the values that it had before");
        }
        assert_eq!(one_after_the_other(&replicas).len(), 3);
        is_held_by(cluster, "");
    });
}

#[test]
fn who_waits_takes_the_newest_and_who_has_it_already_leaves() {
    everywhere(|cluster| {
        permit(cluster);
        let folders = folders::<3>();
        let replicas = working(cluster, &folders, &[]);
        let [slow, newer, back] = &replicas;
        slow.set("slow");
        slow.says("start", "slow");
        is_held_by(cluster, "shop-0_");
        for replica in [newer, back] {
            replica.set("two");
            replica.tells("goes on with the old ones until lease/shop is free: shop-0_");
        }
        newer.set("three");
        back.set("one");
        back.tells("everything is again as sh has it: nothing is done");
        slow.folder.file("go", "");
        newer.says("up", "three");
        assert!(newer.has_said("start", "two").is_none(), "{:?}", newer.said());
        assert!(back.said().iter().all(|(_, what, _)| what != "down"), "{:?}", back.said());
        assert_eq!(one_after_the_other(&replicas).len(), 2);
        is_held_by(cluster, "");
    });
}

#[test]
fn a_slow_start_keeps_it_and_of_a_dead_holder_it_is_taken_after_a_while() {
    everywhere(|cluster| {
        permit(cluster);
        let folders = folders::<2>();
        let [slow, next] = working(cluster, &folders, &[]);
        slow.set("slow");
        slow.says("start", "slow");
        next.set("two");
        next.tells("is free: shop-0_");
        // It is renewed for longer than one word of its holder counts.
        let mut renewals = vec![spec(cluster)["renewTime"].clone()];
        for _ in 0..4 {
            let renewed = poll(|| {
                let at = spec(cluster)["renewTime"].clone();
                (renewals.last() != Some(&at)).then_some(at)
            });
            renewals.push(renewed.expect("it is renewed"));
        }
        assert!(next.has_said("start", "two").is_none(), "{:?}", next.said());
        let killed = now();
        drop(slow.supervised.killed());
        let taken = next.says("start", "two");
        let after = Duration::from_nanos(u64::try_from(taken - killed).unwrap());
        // Of its last word, up to 5.5 s are over.
        assert!(after > Duration::from_secs(9) && after < Duration::from_secs(25), "{after:?}");
        next.says("up", "two");
        is_held_by(cluster, "");
    });
}

#[test]
fn a_lease_that_is_lost_stops_no_restart_that_is_under_way() {
    everywhere(|cluster| {
        permit(cluster);
        let folders = folders::<2>();
        let [slow, next] = working(cluster, &folders, &[]);
        slow.set("slow");
        slow.says("start", "slow");
        next.set("two");
        next.tells("is free: shop-0_");
        let hold = |identity: &str| {
            let lease =
                json!({ "spec": { "holderIdentity": identity, "renewTime": "2026-11-22T20:00:00.000000Z" } });
            cluster.admin.merge(&path(cluster), &lease).fine();
        };
        hold("stranger");
        slow.tells("lease/shop was lost while sh is restarted: another has taken it");
        next.tells("is free: stranger");
        assert_eq!(slow.said().iter().filter(|(_, what, _)| what == "down").count(), 1, "{:?}", slow.said());
        // It is the stranger's word that counts now, also when the restart is over.
        slow.folder.file("go", "");
        slow.says("up", "slow");
        slow.tells("sh works");
        assert_eq!(holder(cluster), "stranger");
        assert!(next.has_said("start", "two").is_none(), "{:?}", next.said());
        hold("");
        next.says("up", "two");
        is_held_by(cluster, "");
    });
}

#[test]
fn who_ends_gives_it_back_at_once() {
    everywhere(|cluster| {
        permit(cluster);
        let folders = folders::<2>();
        let [slow, next] = working(cluster, &folders, &[]);
        slow.set("slow");
        slow.says("start", "slow");
        next.set("two");
        next.tells("is free: shop-0_");
        slow.supervised.stops();
        let began = Instant::now();
        next.says("start", "two");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        next.says("up", "two");
    });
}

#[test]
fn without_the_right_nothing_is_restarted_until_it_is_there() {
    everywhere(|cluster| {
        let folder = folder("one");
        let replica = Replica::start(cluster, &folder, "shop-0");
        replica.tells("does not permit it (403); as long as that is so, sh is not restarted");
        replica.tells("`dlconf rbac --restart-lock lease/shop` prints the Role that it needs");
        replica.says("up", "one");
        replica.set("two");
        let permitted = now();
        permit(cluster);
        assert!(replica.says("start", "two") > permitted);
        replica.tells("lease/shop can be had again");
        replica.says("up", "two");
    });
}

#[test]
fn while_the_server_is_away_nothing_is_restarted() {
    let cluster = Cluster::fake();
    permit(&cluster);
    let folders = folders::<3>();
    let replicas = working(&cluster, &folders, &[]);
    cluster.faults().stop();
    for replica in &replicas {
        replica.set("two");
        replica.tells("lease/shop cannot be had");
        replica.set("three");
    }
    let again = now();
    cluster.faults().start_again();
    for replica in &replicas {
        assert!(replica.says("start", "three") > again);
        replica.says("up", "three");
        assert!(replica.has_said("start", "two").is_none());
    }
    assert_eq!(one_after_the_other(&replicas).len(), 3);
}

#[test]
fn a_restart_under_way_outlives_the_server_and_is_told() {
    let cluster = Cluster::fake();
    permit(&cluster);
    let folders = folders::<1>();
    let [slow] = working(&cluster, &folders, &[]);
    slow.set("slow");
    slow.says("start", "slow");
    cluster.faults().fail_always("* leases/shop", Fault::Status(500));
    slow.tells("lease/shop was lost while sh is restarted");
    cluster.faults().heal();
    slow.tells("lease/shop is ours again");
    assert_eq!(slow.said().iter().filter(|(_, what, _)| what == "down").count(), 1, "{:?}", slow.said());
    slow.folder.file("go", "");
    slow.tells("sh works");
    is_held_by(&cluster, "");
}

#[test]
fn a_server_that_says_nothing_holds_up_no_end() {
    let cluster = Cluster::fake();
    permit(&cluster);
    let folders = folders::<1>();
    let [slow] = working(&cluster, &folders, &[]);
    slow.set("slow");
    slow.says("start", "slow");
    is_held_by(&cluster, "shop-0_");
    cluster.faults().fail_always("* leases/shop", Fault::Silence);
    let began = Instant::now();
    kill(slow.supervised.pid(), Signal::SIGTERM).unwrap();
    slow.says("down", "slow");
    let stopped = began.elapsed();
    slow.supervised.ends();
    let all = began.elapsed();
    // It is dlconf alone that waits, and for a second.
    assert!(all.saturating_sub(stopped) > Duration::from_millis(500), "{stopped:?} of {all:?}");
    assert!(all < Duration::from_secs(8), "{all:?}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = folder("one");
    let run =
        |options: &[&str]| -> Ran { folder.run(&[&["run"], options, &["--", "true"]].concat()).exits(125) };
    run(&["--restart-lock", "lease/shop"]).warns("--watch");
    for bad in ["shop", "lease/", "lease/Shop", "lease/a/b", "secret/shop"] {
        run(&["--watch", "--restart-lock", bad]).warns("write lease/NAME");
    }
    for action in ["signal:HUP", "exec:true", "none"] {
        run(&["--watch", "--restart-lock", "lease/shop", "--on-change", action])
            .warns("--restart-lock lets one replica restart at a time");
    }
    // Nothing says where the server is.
    run(&["--watch", "--restart-lock", "lease/shop"]).warns("KUBECONFIG");
    // Without a proof the lock is worth little, which is told.
    folder.file("kubeconfig", "");
    let kubeconfig = folder.join("kubeconfig");
    let ran = folder.run_with(
        &["run", "--watch", "--restart-lock", "lease/shop", "--", "sleep", "0.5"],
        &[("KUBECONFIG", kubeconfig.to_str().unwrap())],
    );
    ran.exits(0).warns("without --healthy").warns("lease/shop cannot be had");
}
