//! Identities on disk, and the check of a peer without a network.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fedist_registry::RegionId;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{ServerName, UnixTime};
use tempfile::tempdir;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn region(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The verdict of `ours` about `theirs`, as a dialer and as the one who is called.
fn verdicts(
    ours: &Identity,
    theirs: &Identity,
    expect: Option<RegionId>,
) -> [Result<(), PeerRefused>; 2] {
    let chain = theirs.chain();
    let (leaf, rest) = chain.split_first().unwrap();
    let now = UnixTime::now();
    let name = ServerName::try_from("any.fedist.internal").unwrap();
    let dialer = ours.verifier(expect).unwrap();
    let as_dialer = dialer.verify_server_cert(leaf, rest, &name, &[], now);
    let called = ours.verifier(expect).unwrap();
    let as_called = called.verify_client_cert(leaf, rest, now);
    [
        as_dialer.map(drop).map_err(|_| dialer.take_refusal().unwrap()),
        as_called.map(drop).map_err(|_| called.take_refusal().unwrap()),
    ]
}

#[test]
fn a_root_is_made_once_and_found_again() {
    let dir = tempdir().unwrap();
    let home = dir.path().join("fed");
    let (first, created) = CertificateAuthority::load_or_create(&home).unwrap();
    assert!(created);
    let (second, created) = CertificateAuthority::load_or_create(&home).unwrap();
    assert!(!created);
    assert_eq!(first.federation(), second.federation());
    assert_eq!(first.federation().as_str().len(), 16);
    assert_eq!(first.federation().as_str().parse(), Ok(first.federation().clone()));
    assert_eq!(mode(&home), 0o700);
    assert_eq!(mode(&home.join("ca.key")), 0o600);
    let names: Vec<_> =
        fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary files stay: {names:?}");
}

#[test]
fn of_many_that_make_a_root_at_once_all_get_the_same() {
    let dir = tempdir().unwrap();
    let roots: Vec<(CertificateAuthority, bool)> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| CertificateAuthority::load_or_create(dir.path()).unwrap()))
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    let federation = roots[0].0.federation();
    assert!(roots.iter().all(|(root, _)| root.federation() == federation));
    assert_eq!(roots.iter().filter(|(_, created)| *created).count(), 1);
}

#[test]
fn a_lost_root_certificate_is_made_again_and_a_lost_root_key_is_not() {
    let dir = tempdir().unwrap();
    let (root, _) = CertificateAuthority::load_or_create(dir.path()).unwrap();
    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    let (again, created) = CertificateAuthority::load_or_create(dir.path()).unwrap();
    assert!(!created);
    assert_eq!(root.federation(), again.federation());
    let old = Identity::ephemeral(region(1), &root).unwrap();
    let new = Identity::ephemeral(region(2), &again).unwrap();
    assert_eq!(verdicts(&new, &old, None), [Ok(()), Ok(())]);

    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = CertificateAuthority::load_or_create(dir.path()).unwrap_err();
    assert!(matches!(error, IdentityError::Missing { .. }), "{error}");
}

#[test]
fn a_region_keeps_its_key_and_its_certificate() {
    let dir = tempdir().unwrap();
    let (root, _) = CertificateAuthority::load_or_create(dir.path()).unwrap();
    let first = Identity::load_or_issue(dir.path(), region(7), Some(&root)).unwrap();
    let second = Identity::load_or_issue(dir.path(), region(7), Some(&root)).unwrap();
    let third = Identity::load(dir.path(), region(7)).unwrap();
    assert_eq!(first.chain(), second.chain());
    assert_eq!(first.chain(), third.chain());
    assert_eq!(first.key_hash(), third.key_hash());
    assert_eq!(third.region(), region(7));
    assert_eq!(third.federation(), root.federation());
    assert_eq!(mode(&dir.path().join("region.key")), 0o600);
    assert!(!format!("{third:?}").contains("PRIVATE"));
}

#[test]
fn a_certificate_past_two_thirds_of_its_life_is_renewed_for_the_same_key() {
    let dir = tempdir().unwrap();
    let (root, _) = CertificateAuthority::load_or_create(dir.path()).unwrap();
    let now = SystemTime::now();
    let issue = |ca, days| Identity::load_or_issue_at(dir.path(), region(7), ca, now + DAY * days);
    let first = issue(Some(&root), 0).unwrap();
    assert_eq!(issue(Some(&root), 59).unwrap().chain(), first.chain());
    assert_eq!(issue(None, 61).unwrap().chain(), first.chain());
    let error = issue(None, 91).unwrap_err();
    assert!(matches!(error, IdentityError::Expired { .. }), "{error}");
    let renewed = issue(Some(&root), 61).unwrap();
    assert_ne!(renewed.chain(), first.chain());
    assert_eq!(renewed.key_hash(), first.key_hash());
    assert_eq!(issue(None, 150).unwrap().chain(), renewed.chain());
}

#[test]
fn an_identity_that_was_saved_is_loaded_elsewhere_without_the_root_key() {
    let root = CertificateAuthority::ephemeral().unwrap();
    let made = root.issue(region(9), DAY).unwrap();
    let dir = tempdir().unwrap();
    made.save(dir.path()).unwrap();
    made.save(dir.path()).unwrap();
    let loaded = Identity::load(dir.path(), region(9)).unwrap();
    assert_eq!(loaded.key_hash(), made.key_hash());
    assert_eq!(loaded.federation(), made.federation());
    let other = root.issue(region(9), DAY).unwrap();
    let error = other.save(dir.path()).unwrap_err();
    assert!(matches!(error, IdentityError::KeyMismatch { .. }), "{error}");
    assert_eq!(Identity::load(dir.path(), region(9)).unwrap().key_hash(), made.key_hash());
}

#[test]
fn a_certificate_for_a_key_made_elsewhere_names_that_key() {
    let root = CertificateAuthority::ephemeral().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let leaf = root.issue_for_key(region(4), &spki, DAY).unwrap();
    let identity = Identity::assemble(&key, leaf, root.certificate().clone()).unwrap();
    assert_eq!(identity.region(), region(4));
    let error = root.issue_for_key(region(4), &spki[1..], DAY).unwrap_err();
    assert!(matches!(error, IdentityError::UnsupportedKey), "{error}");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_chmod_to_run() {
    let dir = tempdir().unwrap();
    let (root, _) = CertificateAuthority::load_or_create(dir.path()).unwrap();
    Identity::load_or_issue(dir.path(), region(7), Some(&root)).unwrap();
    for name in ["region.key", "ca.key"] {
        let path = dir.path().join(name);
        set_mode(&path, 0o644);
        let error = if name == "ca.key" {
            CertificateAuthority::load(dir.path()).map(drop).unwrap_err()
        } else {
            Identity::load(dir.path(), region(7)).map(drop).unwrap_err()
        };
        let text = error.to_string();
        assert!(text.contains(&format!("chmod 600 '{}'", path.display())), "{text}");
        set_mode(&path, 0o600);
    }
    set_mode(dir.path(), 0o770);
    let error = Identity::load_or_issue(dir.path(), region(7), Some(&root)).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[test]
fn a_damaged_file_is_named() {
    let dir = tempdir().unwrap();
    let (root, _) = CertificateAuthority::load_or_create(dir.path()).unwrap();
    Identity::load_or_issue(dir.path(), region(7), Some(&root)).unwrap();
    for name in ["region.pem", "region.key", "ca.pem"] {
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        for damage in [
            &b""[..],
            b"\xff\xfe",
            &whole[..whole.len() / 2],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(&path, damage).unwrap();
            let error = Identity::load(dir.path(), region(7)).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{name}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        fs::write(&path, &whole).unwrap();
    }
    Identity::load(dir.path(), region(7)).unwrap();
}

#[test]
fn a_directory_of_another_region_federation_or_key_is_refused() {
    let dir = tempdir().unwrap();
    let (root, _) = CertificateAuthority::load_or_create(dir.path()).unwrap();
    Identity::load_or_issue(dir.path(), region(7), Some(&root)).unwrap();
    let error = Identity::load_or_issue(dir.path(), region(8), Some(&root)).unwrap_err();
    assert!(matches!(error, IdentityError::OtherRegion { .. }), "{error}");
    let stranger = CertificateAuthority::ephemeral().unwrap();
    let error = Identity::load_or_issue(dir.path(), region(7), Some(&stranger)).unwrap_err();
    assert!(matches!(error, IdentityError::OtherFederation { .. }), "{error}");
    let other = tempdir().unwrap();
    stranger.issue(region(7), DAY).unwrap().save(other.path()).unwrap();
    fs::copy(other.path().join("region.key"), dir.path().join("region.key")).unwrap();
    let error = Identity::load(dir.path(), region(7)).unwrap_err();
    assert!(matches!(error, IdentityError::KeyMismatch { .. }), "{error}");
}

#[test]
fn a_region_of_the_same_federation_is_accepted_and_known_by_number_and_key() {
    let root = CertificateAuthority::ephemeral().unwrap();
    let (seven, nine) = (root.issue(region(7), DAY).unwrap(), root.issue(region(9), DAY).unwrap());
    assert_eq!(verdicts(&seven, &nine, None), [Ok(()), Ok(())]);
    assert_eq!(verdicts(&seven, &nine, Some(region(9))), [Ok(()), Ok(())]);
    let peer = peer_from_chain(&nine.chain()).unwrap();
    assert_eq!(peer.region, region(9));
    assert_eq!(peer.key_hash, nine.key_hash());
}

#[test]
fn every_other_certificate_is_refused_for_its_own_reason() {
    let root = CertificateAuthority::ephemeral().unwrap();
    let stranger = CertificateAuthority::ephemeral().unwrap();
    let ours = root.issue(region(7), DAY).unwrap();
    let now = SystemTime::now();
    let refusals = |theirs: &Identity, expect| {
        let [dialer, called] = verdicts(&ours, theirs, expect);
        assert_eq!(dialer, called);
        dialer.unwrap_err()
    };

    let other = refusals(&root.issue(region(9), DAY).unwrap(), Some(region(8)));
    assert_eq!(
        other.to_string(),
        "the peer's certificate says region 9, expected 8; check the address"
    );

    let foreign = refusals(&stranger.issue(region(9), DAY).unwrap(), None);
    let expected = PeerRefused::OtherFederation {
        theirs: stranger.federation().clone(),
        ours: root.federation().clone(),
    };
    assert_eq!(foreign, expected);

    let old = refusals(&root.issue_at(region(9), now - DAY * 3, DAY).unwrap(), None);
    assert!(matches!(old, PeerRefused::Expired { .. }), "{old}");
    let early = refusals(&root.issue_at(region(9), now + DAY * 2, DAY).unwrap(), None);
    assert!(matches!(early, PeerRefused::NotYetValid { .. }), "{early}");
}

#[test]
fn only_the_canonical_uri_of_a_region_is_read() {
    let federation: FederationId = "0123456789abcdef".parse().unwrap();
    let good = certificate::region_uri(&federation, region(7));
    assert_eq!(certificate::parse_region_uri(&good), Some((federation, region(7))));
    for bad in [
        "",
        "fedist://0123456789abcdef/region/",
        "fedist://0123456789abcdef/region/0",
        "fedist://0123456789abcdef/region/07",
        "fedist://0123456789abcdef/region/65535",
        "fedist://0123456789abcdef/region/7/",
        "fedist://0123456789ABCDEF/region/7",
        "fedist://0123456789abcde/region/7",
        "FEDIST://0123456789abcdef/region/7",
        "https://0123456789abcdef/region/7",
    ] {
        assert_eq!(certificate::parse_region_uri(bad), None, "{bad}");
    }
}

#[test]
fn a_certificate_with_two_names_or_none_is_malformed() {
    let root = CertificateAuthority::ephemeral().unwrap();
    let ours = root.issue(region(7), DAY).unwrap();
    let uri = |number| {
        rcgen::SanType::URI(
            certificate::region_uri(root.federation(), region(number)).as_str().try_into().unwrap(),
        )
    };
    let dns = |number| {
        rcgen::SanType::DnsName(
            certificate::region_dns(root.federation(), region(number)).as_str().try_into().unwrap(),
        )
    };
    let cases = [
        vec![uri(7), uri(8), dns(7)],
        vec![dns(7)],
        vec![uri(7)],
        vec![uri(7), dns(7), dns(8)],
        vec![uri(7), dns(8)],
    ];
    for names in cases {
        let leaf = root.sign_names(names);
        let verifier = ours.verifier(None).unwrap();
        verifier.verify_client_cert(&leaf, &[], UnixTime::now()).unwrap_err();
        let refused = verifier.take_refusal().unwrap();
        assert!(matches!(refused, PeerRefused::Malformed { .. }), "{refused}");
    }
}
