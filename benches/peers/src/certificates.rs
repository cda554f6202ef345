//! Certificates for the peers that need files of them: a CA, and one that both sides use.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// The files in `directory`, all PEM.
pub(crate) const CA: &str = "ca.pem";
pub(crate) const CERTIFICATE: &str = "both.pem";
pub(crate) const KEY: &str = "both.key";

/// Writes the files. The certificate is for `localhost`, as a server's and as a client's.
pub(crate) fn make(directory: &Path) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "the peers' CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    fs::write(directory.join(CA), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    fs::write(directory.join(CERTIFICATE), params.signed_by(&key, &issuer)?.pem())?;
    fs::write(directory.join(KEY), key.serialize_pem())?;
    Ok(())
}
