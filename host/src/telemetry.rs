//! OpenTelemetry: one consumer span per attempt of a job, in the trace that its producer began, and metrics of what came
//! of the jobs.
//!
//! The names are those of BullMQ's telemetry (`bullmq.job.id`, `bullmq.jobs.completed`, …), so that both read the same
//! whichever worker ran the job. Without an endpoint nothing is recorded and nothing is spent.

mod export;
mod meter;

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use toril_queue::{Job, SettlementKind, json, now_ms};
use toril_sandbox::{MovedTo, Outcome};

pub use self::export::{OtlpConfig, OtlpProtocol};
use self::meter::{JobMeter, Reached};

/// How long sending what is left may take.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_millis(1500);

/// Records spans and metrics, and sends them off in batches. One per host.
pub struct Telemetry {
    spans: SdkTracerProvider,
    metrics: SdkMeterProvider,
    tracer: SdkTracer,
    meter: JobMeter,
    propagator: TraceContextPropagator,
}

impl Telemetry {
    /// Sends to a collector: spans every few seconds, metrics once a minute (`OTEL_METRIC_EXPORT_INTERVAL`). Call it
    /// within a Tokio runtime.
    pub fn new(config: &OtlpConfig) -> anyhow::Result<Self> {
        let (span_exporter, metric_exporter) = export::exporters(config)?;
        let resource = Resource::builder().with_service_name("toril").build();
        let spans = SdkTracerProvider::builder()
            .with_batch_exporter(span_exporter)
            .with_resource(resource.clone())
            .build();
        let metrics = SdkMeterProvider::builder()
            .with_periodic_exporter(metric_exporter)
            .with_resource(resource)
            .build();
        Ok(Telemetry {
            tracer: spans.tracer("toril"),
            meter: JobMeter::new(&metrics.meter("toril")),
            spans,
            metrics,
            propagator: TraceContextPropagator::new(),
        })
    }

    /// Counts a job that was settled.
    pub(crate) fn settled(&self, queue: &str, job: &Job, kind: &SettlementKind) {
        if let Some(state) = Reached::of(kind) {
            self.meter.reached(queue, job, state);
        }
    }

    /// Counts a job that its processor moved.
    pub(crate) fn moved(&self, queue: &str, job: &Job, to: MovedTo) {
        self.meter.reached(queue, job, to.into());
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

    /// Sends what is left. A collector that does not answer soon does not get it: a host has to end in time.
    pub async fn shutdown(&self) {
        let (spans, metrics) = (self.spans.clone(), self.metrics.clone());
        let sent = tokio::time::timeout(SHUTDOWN_TIME_MAX, async {
            tokio::join!(
                tokio::task::spawn_blocking(move || spans.shutdown()),
                tokio::task::spawn_blocking(move || metrics.shutdown()),
            )
        });
        let Ok((spans, metrics)) = sent.await else {
            tracing::warn!("the collector does not answer: the last traces and metrics are lost");
            return;
        };
        if let Ok(Err(error)) = spans {
            tracing::warn!(%error, "the last traces could not be sent");
        }
        if let Ok(Err(error)) = metrics {
            tracing::warn!(%error, "the last metrics could not be sent");
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
