//! How spans and metrics leave: OTLP over gRPC or HTTP, with TLS where the endpoint is `https`. Headers, time limits and
//! certificates of a collector come from the environment (`OTEL_EXPORTER_OTLP_HEADERS`, …), as in any other program.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use rustls::{ClientConfig, RootCertStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a collector is spoken to.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::EnumString,
)]
pub enum OtlpProtocol {
    /// gRPC; collectors listen on port 4317.
    #[serde(rename = "grpc")]
    #[strum(serialize = "grpc")]
    Grpc,
    /// Protobuf over HTTP; collectors listen on port 4318.
    #[default]
    #[serde(rename = "http/protobuf")]
    #[strum(serialize = "http/protobuf")]
    HttpProtobuf,
    /// JSON over HTTP.
    #[serde(rename = "http/json")]
    #[strum(serialize = "http/json")]
    HttpJson,
}

/// Where spans and metrics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Such as `https://collector.internal:4318`. HTTP adds `/v1/traces` and `/v1/metrics`.
    pub endpoint: String,
    /// How the collector is spoken to.
    pub protocol: OtlpProtocol,
}

impl OtlpConfig {
    /// What is not configured comes from `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_PROTOCOL`; none without an
    /// endpoint.
    pub(crate) fn new(
        endpoint: Option<String>,
        protocol: Option<OtlpProtocol>,
    ) -> anyhow::Result<Option<Self>> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let Some(endpoint) = endpoint.or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT")) else {
            return Ok(None);
        };
        ensure!(
            endpoint.starts_with("http://") || endpoint.starts_with("https://"),
            "the OTLP endpoint `{endpoint}` is not an HTTP URL\nhint: it looks like `http://127.0.0.1:4318`, or `https://` for TLS"
        );
        let of_environment = variable("OTEL_EXPORTER_OTLP_PROTOCOL").map(|text| {
            text.parse().with_context(|| {
                format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL is `{text}`\nhint: the protocols are `grpc`, `http/protobuf` and `http/json`"
                )
            })
        });
        let protocol = match protocol {
            Some(protocol) => protocol,
            None => of_environment.transpose()?.unwrap_or_default(),
        };
        Ok(Some(OtlpConfig { endpoint, protocol }))
    }
}

/// Within a Tokio runtime: gRPC needs one.
pub(super) fn exporters(config: &OtlpConfig) -> anyhow::Result<(SpanExporter, MetricExporter)> {
    let endpoint = config.endpoint.trim_end_matches('/');
    let made = match config.protocol {
        OtlpProtocol::Grpc => over_grpc(endpoint),
        OtlpProtocol::HttpProtobuf => over_http(endpoint, opentelemetry_otlp::Protocol::HttpBinary),
        OtlpProtocol::HttpJson => over_http(endpoint, opentelemetry_otlp::Protocol::HttpJson),
    };
    made.with_context(|| {
        format!(
            "failed to set up traces and metrics to `{}`",
            config.endpoint
        )
    })
}

fn over_grpc(endpoint: &str) -> anyhow::Result<(SpanExporter, MetricExporter)> {
    let mut spans = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    let mut metrics = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint);
    if endpoint.starts_with("https:") {
        let tls = ClientTlsConfig::new().with_native_roots();
        spans = spans.with_tls_config(tls.clone());
        metrics = metrics.with_tls_config(tls);
    }
    Ok((spans.build()?, metrics.build()?))
}

fn over_http(
    endpoint: &str,
    protocol: opentelemetry_otlp::Protocol,
) -> anyhow::Result<(SpanExporter, MetricExporter)> {
    let client = http_client(endpoint.starts_with("https:"))?;
    let spans = SpanExporter::builder()
        .with_http()
        .with_http_client(client.clone())
        .with_protocol(protocol)
        .with_endpoint(format!("{endpoint}/v1/traces"));
    let metrics = MetricExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(protocol)
        .with_endpoint(format!("{endpoint}/v1/metrics"));
    Ok((spans.build()?, metrics.build()?))
}

/// Certificates of the system are read where they are needed only: there are many.
fn http_client(with_tls: bool) -> anyhow::Result<reqwest::blocking::Client> {
    let mut roots = RootCertStore::empty();
    if with_tls {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let build = move || {
        reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(tls)
            .build()
    };
    // The client brings a runtime of its own, which must not be made within ours.
    let built = std::thread::Builder::new().spawn(build)?.join();
    Ok(built.map_err(|_| anyhow!("the HTTP client cannot be built"))??)
}
