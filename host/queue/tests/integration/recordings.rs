//! Recordings beside a queue: what is dropped is gone.

use toril_queue::RecordingLimits;

use crate::harness::TestRedis;

const LIMITS: RecordingLimits = RecordingLimits {
    count_max: 10_000,
    bytes_max: 1 << 20,
    age_ms: 3_600_000,
};

#[tokio::test]
async fn all_are_dropped_also_where_redis_lost_the_newest() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let mut names = vec!["a".to_owned()];
    names.extend((0..1000).map(|at| format!("b{at}")));
    for name in &names {
        let start = (name.as_str(), 1);
        let stored = queue
            .store_recording(start, b"bytes", "failed", &LIMITS)
            .await;
        assert!(stored.unwrap());
    }
    let newest = redis.run::<Vec<String>>("KEYS *:rec:b*").await;
    let lost: u64 = redis.run(&format!("UNLINK {}", newest.join(" "))).await;
    assert_eq!(lost, 1000);

    assert_eq!(queue.drop_all_recordings().await.unwrap(), 1);
    assert!(redis.run::<Vec<String>>("KEYS *:rec*").await.is_empty());
}
