//! Where the certificates of a claim stand in a guest: who puts them there, and who takes them out of what a
//! guest has become, name the same places. Those without a slash at their start are paths below the root.

/// The bundle of certificates that is in every guest once it is claimed.
pub const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The certificates of the claim alone, for who has others of its own: to read all of the bundle
/// costs an emulated guest's Node.js half a second in each process that speaks TLS.
pub const CLAIMED: &str = "/etc/ssl/fumehood.pem";

/// The variables by which programs that do not look at the system's store find whom to trust. Not
/// among them is `NODE_USE_SYSTEM_CA`, which costs another second.
pub const TRUST_VARIABLES: [(&str, &str); 10] = [
    ("AWS_CA_BUNDLE", BUNDLE),
    ("CARGO_HTTP_CAINFO", BUNDLE),
    ("CURL_CA_BUNDLE", BUNDLE),
    ("GIT_SSL_CAINFO", BUNDLE),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", BUNDLE),
    ("NODE_EXTRA_CA_CERTS", CLAIMED),
    ("NPM_CONFIG_CAFILE", BUNDLE),
    ("PIP_CERT", BUNDLE),
    ("REQUESTS_CA_BUNDLE", BUNDLE),
    ("SSL_CERT_FILE", BUNDLE),
];

/// What Debian's `update-ca-certificates` takes certificates from.
pub const DEBIAN_SOURCES: &str = "usr/local/share/ca-certificates";
/// What Red Hat's `update-ca-trust` takes them from.
pub const RED_HAT_SOURCES: &str = "etc/pki/ca-trust/source/anchors";
/// Where OpenSSL looks one certificate up by the hash of its subject.
pub const HASHED: &str = "etc/ssl/certs";
/// Folders that have each certificate in a file of its own.
pub const SOURCES: [&str; 3] = [DEBIAN_SOURCES, RED_HAT_SOURCES, HASHED];
/// Such a file is called so, with a number from 1 and `.crt` or `.pem`.
pub const NAME: &str = "fumehood-";
/// All certificates in one file; the first is made where there is none.
pub const BUNDLES: [&str; 6] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
    "etc/ssl/certs/ca-bundle.crt",
];
/// The same for Java.
pub const KEYSTORES: [&str; 2] = ["etc/ssl/certs/java/cacerts", "etc/pki/java/cacerts"];
/// A bundle or keystore is read up to here.
pub const BUNDLE_BYTES_MAX: u64 = 4 << 20;
/// `sudo` is told to keep the variables.
pub const SUDO: &str = "etc/sudoers.d/fumehood-trust";
