//! Traces: one OpenTelemetry consumer span per attempt of a job, in the trace that its producer began.
//!
//! The names are those of BullMQ's telemetry (`bullmq.job.id`, …), so that a trace reads the same whichever
//! worker ran the job. Without an endpoint nothing is recorded and nothing is spent.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use toril_queue::{Job, json, now_ms};
use toril_sandbox::Outcome;

/// Records spans and sends them off in batches. One per host.
pub struct Telemetry {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Telemetry {
    /// Sends spans to a collector that speaks OTLP over HTTP, such as `http://127.0.0.1:4318`.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .with_context(|| format!("failed to set up traces to `{endpoint}`"))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name("toril").build())
            .build();
        let tracer = provider.tracer("toril");
        Ok(Telemetry {
            provider,
            tracer,
            propagator: TraceContextPropagator::new(),
        })
    }

    /// Begins the span of an attempt.
    pub fn start(&self, queue: &str, job: &Job) -> JobSpan {
        let carrier: HashMap<String, String> = job
            .options
            .trace
            .as_deref()
            .and_then(|trace| json::read(trace).ok())
            .unwrap_or_default();
        let parent = self
            .propagator
            .extract_with_context(&Context::new(), &carrier);
        let span = self
            .tracer
            .span_builder(format!("process {queue}"))
            .with_kind(SpanKind::Consumer)
            .with_attributes([
                KeyValue::new("bullmq.queue.name", queue.to_owned()),
                KeyValue::new("bullmq.queue.operation", "process"),
                KeyValue::new("bullmq.job.id", job.id.to_string()),
                KeyValue::new("bullmq.job.name", job.name.clone()),
                KeyValue::new("bullmq.job.attempts.made", i64::from(job.attempts_made)),
                KeyValue::new("bullmq.job.processed.timestamp", number(job.processed_on)),
            ])
            .start_with_context(&self.tracer, &parent);
        let context = Context::new().with_span(span);
        let mut carrier = HashMap::new();
        self.propagator.inject_context(&context, &mut carrier);
        let carrier = serde_json::to_string(&carrier).unwrap_or_default();
        JobSpan { context, carrier }
    }

    /// Sends what is left. Blocks for at most a few seconds.
    pub fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// The span of one attempt.
pub struct JobSpan {
    context: Context,
    carrier: String,
}

impl JobSpan {
    /// What the jobs that this one adds carry, so that they belong to the same trace: JSON text.
    pub fn carrier(&self) -> &str {
        &self.carrier
    }

    /// Ends the span with what came of the attempt.
    pub fn end(self, outcome: &Outcome, cpu: Duration) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new(
            "bullmq.job.attempt_finished_timestamp",
            number(now_ms()),
        ));
        span.set_attribute(KeyValue::new("toril.job.cpu.seconds", cpu.as_secs_f64()));
        if let Outcome::Failed { message, .. } = outcome {
            span.set_attribute(KeyValue::new("bullmq.job.failed.reason", message.clone()));
            span.set_status(Status::error(message.clone()));
        }
        span.end();
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
