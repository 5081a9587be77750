//! The log as the daemon's parts use it.

use std::time::Instant;

use super::*;

/// How many records a second one caller gets written, and sixteen at once. A
/// measurement: `cargo test --profile load … -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn records_a_second() {
    for callers in [1_u32, 16, 64] {
        let log = Log::new();
        let audit = Arc::new(log.open().unwrap());
        let each = 200_000 / callers.max(4);
        let begin = Instant::now();
        runtime().block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for caller in 0..callers {
                let audit = Arc::clone(&audit);
                tasks.spawn(async move {
                    for _ in 0..each {
                        audit.record(record(caller)).await.unwrap();
                    }
                });
            }
            tasks.join_all().await;
        });
        let took = begin.elapsed();
        let all = callers * each;
        println!("{callers:>3} callers: {:.0} records a second", f64::from(all) / took.as_secs_f64());
        drop(audit);
        let begin = Instant::now();
        assert_eq!(log.whole().records, u64::from(all) + 2);
        println!("    verified in {:.2} s", begin.elapsed().as_secs_f64());
    }
}
