//! BullMQ's own Rust worker with a closure as its processor: `bench-official PORT CONCURRENCY`.

use bullmq::{Worker, WorkerOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or(format!("{name} is missing"));
    let (port, concurrency) = (next("port")?, next("concurrency")?.parse()?);
    let mut options = WorkerOptions {
        concurrency,
        ..WorkerOptions::default()
    };
    options.connection.url = format!("redis://127.0.0.1:{port}");
    let one = |_, _| async { Ok(serde_json::json!(1)) };
    let _worker = Worker::with_options("bench", one, options).await?;
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
        .recv()
        .await;
    Ok(())
}
