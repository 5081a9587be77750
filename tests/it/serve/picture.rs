//! The status page in a real browser: it is drawn, fits, and can be read.
//!
//! The pictures are left in `target/tmp/status-page` to be looked at.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dlconf::serve::Limits;
use serde_json::Value;

use super::fake::{Routes, Served, cut_off_and_full, ill, loopback, starting, well};

/// Runs Chromium for one page, with nothing of whoever runs the tests.
fn chromium(arguments: &[&str], url: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--force-device-scale-factor=1"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .args(arguments)
        .arg(url)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home.path())
        .output()
        .expect("chromium is not installed: tests/run installs it");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    ran
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Width, height, and how many different rows of pixels a picture has.
fn measure(picture: &Path) -> (u32, u32, usize) {
    let script = "import struct, sys, zlib\nb = open(sys.argv[1], 'rb').read()\n\
        assert b[:8] == b'\\x89PNG\\r\\n\\x1a\\n'\nat, data = 8, b''\n\
        while at < len(b):\n  n, kind = struct.unpack('>I4s', b[at:at + 8])\n  part = b[at + 8:at + 8 + n]\n  at += 12 + n\n\
        \x20 if kind == b'IHDR': w, h = struct.unpack('>II', part[:8])\n  if kind == b'IDAT': data += part\n\
        raw = zlib.decompress(data)\nrow = len(raw) // h\n\
        print(w, h, len({raw[y * row:(y + 1) * row] for y in range(h)}))";
    let ran = Command::new("python3").args(["-c", script]).arg(picture).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).unwrap();
    let numbers: Vec<u32> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    (numbers[0], numbers[1], numbers[2] as usize)
}

const DESKTOP: (u32, u32) = (1440, 900);
const PHONE: (u32, u32) = (390, 844);

/// What makes Chromium prefer a colour scheme.
fn setting(scheme: &str) -> String {
    format!("--blink-settings=preferredColorScheme={}", u8::from(scheme == "light"))
}

#[test]
fn it_is_drawn() {
    for (name, status, looks) in [
        ("ill", ill(), &[("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE)][..]),
        ("well", well(), &[("dark", DESKTOP), ("light", PHONE)]),
        ("starting", starting(), &[("light", DESKTOP)]),
        ("cut-off", cut_off_and_full(), &[("light", DESKTOP), ("dark", PHONE)]),
    ] {
        let served = Served::ops(status);
        let url = format!("http://{}/?still", served.address.unwrap());
        let mut pictures = Vec::new();
        for (scheme, (wide, high)) in looks {
            let picture = folder().join(format!("{name}-{wide}x{high}-{scheme}.png"));
            let _before = std::fs::remove_file(&picture);
            let screenshot = format!("--screenshot={}", picture.display());
            chromium(&[&screenshot, &format!("--window-size={wide},{high}"), &setting(scheme)], &url);
            let (width, height, rows) = measure(&picture);
            assert_eq!((width, height), (*wide, *high), "{}", picture.display());
            assert!(rows > 100, "{} is blank: {rows} rows differ", picture.display());
            pictures.push(std::fs::read(&picture).unwrap());
        }
        let last = pictures.pop().unwrap();
        assert!(!pictures.contains(&last), "{name}: dark looks like light");
    }
}

/// A page that holds the status page in a frame of some width, and measures it.
/// It is shown beside the status page by this test only.
const PROBE: &str = include_str!("probe.html");

/// What the probe found at these widths.
fn probe(served: &Served, widths: &[u32], scheme: &str) -> Vec<Value> {
    let list: Vec<String> = widths.iter().map(ToString::to_string).collect();
    let url = format!("http://{}/probe?{}", served.address.unwrap(), list.join(","));
    let ran = chromium(
        &[&setting(scheme), "--window-size=1440,900", "--virtual-time-budget=5000", "--dump-dom"],
        &url,
    );
    let dom = String::from_utf8(ran.stdout).unwrap();
    let json = dom.split("<script id=\"found\" type=\"application/json\">").nth(1);
    let json = json.unwrap_or_else(|| panic!("{dom}")).split("</script>").next().unwrap();
    serde_json::from_str(json).unwrap()
}

#[test]
fn it_fits_and_can_be_read() {
    let widths = [380, 390, 768, 821, 1024, 1440];
    for (name, status) in [("ill", ill()), ("well", well()), ("starting", starting())] {
        let served = Served::new(&loopback(), Routes::OpsAnd("/probe", PROBE), status, Limits::default());
        for scheme in ["light", "dark"] {
            let all = probe(&served, &widths, scheme);
            assert_eq!(all.len(), widths.len());
            for (found, width) in all.iter().zip(widths) {
                let case = format!("{name}, {width}, {scheme}");
                assert_eq!(found["width"], width, "{case}: {found}");
                assert_eq!(found["dark"], scheme == "dark", "{case}");
                assert!(found["texts"].as_u64().unwrap() > 20, "{case}: {found}");
                assert_eq!(found["overflowing"], serde_json::json!([]), "{case}");
                assert_eq!(found["faint"], serde_json::json!([]), "{case}");
            }
        }
    }
}
