//! Whether a GET is answered as by a program that works.
//!
//! Invariants: no proxy is asked, no redirect followed, and TLS is verified; of an
//! answer's content no more is read than lets the program finish it.
//! Must not know: when to ask.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::time::timeout;
use url::Url;

/// How much of an answer is read, so that a small one is not cut off while it is written.
const CONTENT_LIMIT: usize = 64 * 1024;

/// And for how long.
const CONTENT_PATIENCE: Duration = Duration::from_millis(500);

/// Whether it works, or why that is not shown, as a clause; may be dropped at any time.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// What asks.
pub(super) struct Web {
    /// None where this system has nothing to verify TLS with.
    client: Option<reqwest::Client>,
}

impl Web {
    /// What asks this.
    pub(super) fn new(url: &Url) -> Self {
        // Whoever comes first installs it; the second finds it there.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            // Each attempt shows that a new connection is taken.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("dlconf/", env!("CARGO_PKG_VERSION")));
        // Nobody to trust: the system's authorities, which a small image lacks, are not needed.
        let builder = if url.scheme() == "https" { builder } else { builder.tls_certs_only([]) };
        Self { client: builder.build().ok() }
    }

    /// Asks once.
    pub(super) fn ask(&self, url: &Url, patience: Duration) -> Answer {
        let (client, url) = (self.client.clone(), url.clone());
        Box::pin(async move {
            let client = client.ok_or("this system has no authorities to verify TLS with")?;
            let mut response = match timeout(patience, client.get(url).send()).await {
                Ok(Ok(response)) => response,
                // What the client says quotes the address, and that may hold a password.
                Ok(Err(error)) if error.is_connect() => return Err("no connection is taken".into()),
                Ok(Err(_)) => return Err("what answers is no HTTP, or broke off".into()),
                Err(_) => return Err(format!("no answer came in {} s", patience.as_secs_f64())),
            };
            let status = response.status().as_u16();
            let read = async {
                let mut count = 0;
                while let Ok(Some(chunk)) = response.chunk().await {
                    count += chunk.len();
                    if count > CONTENT_LIMIT {
                        break;
                    }
                }
            };
            let _cut_off = timeout(CONTENT_PATIENCE, read).await;
            if matches!(status, 200..=399) { Ok(()) } else { Err(format!("the answer is {status}")) }
        })
    }
}
