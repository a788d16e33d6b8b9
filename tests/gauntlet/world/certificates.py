"""The world's certificate authority, and a certificate for each of its servers."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)

# File name, names in the certificate, and what is wrong with it.
LEAVES = [
    ("good", ["good.test", "*.good.test", "*.wild.test", "*.evil.test", "evil.test", "also.test",
              "*.also.test", "xn--bcher-kva.test", "*.a.wild.test", "registry.test",
              "*.redirect.test", "doh.test", "key.test", "*.key.test", "live.test",
              "redirect.test",
              "198.18.0.1", "203.0.113.10"], ""),
    ("web", ["web.test"], ""),
    ("git", ["git.test"], ""),
    ("grpc", ["grpc.test"], ""),
    ("ws", ["ws.test"], ""),
    ("shared", ["front.test", "hidden.test"], ""),
    ("wrong", ["somebody-else.test"], ""),
    ("expired", ["expired.test"], "expired"),
    ("self", ["self.test"], "self-signed"),
]


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write(folder, name, key, certificates):
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    (folder / f"{name}.key").write_bytes(private)
    (folder / f"{name}.crt").write_bytes(chain)


def make(folder):
    now = datetime.datetime.now(datetime.timezone.utc)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = _name("Gauntlet World")

    def certificate(subject, issuer, key, days):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        # Python demands both.
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signer = key if subject == issuer else root_key
        theirs = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(own, critical=False).add_extension(theirs, critical=False)
        return builder.not_valid_before(now - 30 * DAY).not_valid_after(now + days * DAY)

    root = certificate(root_name, root_name, root_key, 30)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    root = root.add_extension(x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False), critical=True).sign(root_key, hashes.SHA256())
    _write(folder, "root", root_key, [root])
    for name, names, fault in LEAVES:
        key = ec.generate_private_key(ec.SECP256R1())
        own = fault == "self-signed"
        subject = _name(names[0])
        leaf = certificate(subject, subject if own else root_name, key,
                           -10 if fault == "expired" else 30)
        leaf = leaf.add_extension(
            x509.SubjectAlternativeName([_alternative(text) for text in names]), critical=False)
        leaf = leaf.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        _write(folder, name, key, [leaf.sign(key if own else root_key, hashes.SHA256())])
