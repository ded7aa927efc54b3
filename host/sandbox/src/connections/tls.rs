//! Whom a client of TLS trusts, and as whom it shows itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::regular_file;

/// The contents of the files that a grant names. Compared by content, so that a renewed certificate is a change.
#[derive(Clone, Default, PartialEq)]
pub struct TlsFiles {
    authorities: Vec<u8>,
    /// A certificate with its chain, and its key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsFiles {
    /// Reads the files of authorities, of a certificate and of its key, and refuses those that it cannot use. Their paths
    /// are relative to `dir`, and absolute afterwards.
    pub fn read(dir: &Path, mut files: [&mut Option<PathBuf>; 3]) -> anyhow::Result<Self> {
        for file in files.iter_mut().filter_map(|file| file.as_mut()) {
            *file = dir.join(&*file);
        }
        let [ca_file, cert_file, key_file] = files.map(|file| file.as_deref());
        let read = |file: &Path| {
            regular_file::read(file, regular_file::SMALL_BYTES_MAX)
                .with_context(|| format!("failed to read `{}`", file.display()))
        };
        let identity = match (cert_file, key_file) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            _ => bail!("`cert_file` and `key_file` are set together or not at all"),
        };
        let authorities = ca_file.map(read).transpose()?.unwrap_or_default();
        let files = TlsFiles {
            authorities,
            identity,
        };
        ensure!(
            ca_file.is_none() || !files.authorities()?.is_empty(),
            "`ca_file` holds no certificate in PEM"
        );
        files.client_config()?;
        Ok(files)
    }

    fn authorities(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        certificates(&self.authorities).context("`ca_file`")
    }

    /// A client that trusts the authorities of the system and those of the grant. Sessions that it resumes are its own.
    pub(crate) fn client_config(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = system_roots().clone();
        for authority in self.authorities()? {
            roots.add(authority).context("`ca_file`")?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let Some((chain, key)) = &self.identity else {
            return Ok(config.with_no_client_auth());
        };
        let chain = certificates(chain).context("`cert_file`")?;
        let key = PrivateKeyDer::from_pem_slice(key).context("`key_file` holds no key in PEM")?;
        config
            .with_client_auth_cert(chain, key)
            .context("`cert_file` and `key_file` do not fit each other")
    }
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsFiles")
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read: Result<_, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.context("is not PEM")
}

/// The authorities that the system trusts; read once.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: LazyLock<RootCertStore> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    &ROOTS
}
