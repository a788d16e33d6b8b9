//! Where images come from: what they are called once they are here, and how registries are reached.

use std::path::{Path, PathBuf};

use image::{
    reference::Reference,
    registry::{
        Proxy, Registries, Secret, Settings,
        credentials::CredentialFiles,
        settings::{Addresses, SettingsError},
    },
};

use egress::address::reserved;

use super::{ImageError, Reach};
use crate::uplink::Uplink;

/// What an image is called in the cache; none for what is looked at each time.
pub(super) fn name_of(reference: &Reference) -> Option<String> {
    match reference {
        Reference::Default | Reference::Builder | Reference::Debian(_) | Reference::Registry(_) => {
            Some(reference.to_string())
        }
        Reference::Local(_) => None,
    }
}

/// Whether nothing brings it here but a command of its own.
pub(super) fn is_only_here(reference: &Reference) -> bool {
    matches!(reference, Reference::Default)
}

/// What a client calls an image. Vercel's names of its own images stand for the one here that has
/// what they have.
pub(crate) fn parse(text: &str) -> Result<Reference, ImageError> {
    let name = text.strip_prefix("vcr.vercel.com/").unwrap_or(text);
    if let Some(own) = name.strip_prefix("vercel/sandbox/") {
        let name = own.split(['@']).next().unwrap_or_default();
        return match name.strip_suffix(":latest").unwrap_or(name) {
            "universal" | "node" | "node:24" => Ok(Reference::Default),
            _ => Err(ImageError::Vercel(text.chars().take(128).collect())),
        };
    }
    Ok(text.parse()?)
}

/// An image as a server is told of it: a file of this computer by its whole path. What names no
/// image is left to the server to refuse.
pub fn image_name(text: &str, folder: &Path) -> String {
    match text.parse() {
        Ok(Reference::Local(local)) => local.from_folder(folder).to_string(),
        Ok(_) | Err(_) => text.to_owned(),
    }
}

/// Whether an image of a file, or one that was built, can be called this.
pub fn is_image_tag(text: &str) -> bool {
    matches!(text.parse(), Ok(Reference::Registry(remote)) if remote.digest().is_none())
}

/// As the server's environment and the host's files have it.
pub(super) fn settings(
    uplink: &Uplink,
    reach: Reach,
    variable: impl Fn(&str) -> Option<String> + Copy,
) -> Result<Settings, SettingsError> {
    let registries = match configuration(variable) {
        Some(folder) => Registries::read(&folder.join("registries.json"))?,
        None => Registries::default(),
    };
    let proxy = uplink.proxy.as_ref().map(|proxy| Proxy {
        host: proxy.host.clone(),
        port: proxy.port,
        credentials: proxy.credentials.as_ref().map(|text| Secret::new(text.expose().to_owned())),
        except: proxy.except.clone(),
    });
    let roots = uplink.roots.iter().map(|root| root.clone().into()).collect();
    let credentials = CredentialFiles::of_host(variable);
    let addresses = match reach {
        Reach::All => Addresses::Anywhere,
        Reach::Public => Addresses::NotAt(|address| reserved(address).is_some()),
    };
    Ok(Settings { registries, credentials, roots, proxy, addresses, ..Settings::default() })
}

/// fumehood's folder for what an administrator configures.
fn configuration(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let path = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    path("FUMEHOOD_CONFIG_DIR")
        .or_else(|| path("XDG_CONFIG_HOME").map(|folder| folder.join("fumehood")))
        .or_else(|| path("HOME").map(|home| home.join(".config/fumehood")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_vercels_images() {
        let table = [
            ("vercel/sandbox/universal:latest", "default"),
            ("vercel/sandbox/universal", "default"),
            ("vercel/sandbox/universal@sha256:c77f", "default"),
            ("vcr.vercel.com/vercel/sandbox/node:24", "default"),
            ("default", "default"),
            ("python:3.13", "docker.io/library/python:3.13"),
            ("vercel/other", "docker.io/vercel/other:latest"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["vercel/sandbox/node:22", "vercel/sandbox/arch", "vercel/sandbox/"] {
            assert!(matches!(parse(text), Err(ImageError::Vercel(_))), "{text}");
        }
    }

    #[test]
    fn what_a_project_may_not_reach_is_no_public_address() {
        let addresses = |reach| settings(&Uplink::default(), reach, |_| None).unwrap().addresses;
        assert!(matches!(addresses(Reach::All), Addresses::Anywhere));
        let Addresses::NotAt(is_refused) = addresses(Reach::Public) else { panic!("all are open") };
        for refused in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"] {
            assert!(is_refused(refused.parse().unwrap()), "{refused}");
        }
        for open in ["93.184.216.34", "203.0.113.5", "2606:4700::1"] {
            assert!(!is_refused(open.parse().unwrap()), "{open}");
        }
    }

    #[test]
    fn registries_are_configured_in_a_file_of_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().display().to_string();
        let variable = |name: &str| (name == "FUMEHOOD_CONFIG_DIR").then(|| own.clone());
        settings(&Uplink::default(), Reach::All, variable).unwrap();
        std::fs::write(folder.path().join("registries.json"), "{").unwrap();
        settings(&Uplink::default(), Reach::All, variable).unwrap_err();
    }
}
