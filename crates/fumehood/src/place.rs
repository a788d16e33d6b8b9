//! The two sides of `cp`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// One side of `cp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A tar stream on stdin or stdout.
    Stream,
    /// A path of this computer.
    Here(PathBuf),
    /// A path of a sandbox; empty for its working folder.
    Guest { sandbox: String, path: String },
}

impl FromStr for Place {
    type Err = Infallible;

    /// What looks like `NAME:` is a sandbox's, so a file here with a colon is `./a:b`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        Ok(match text.split_once(':') {
            Some((name, path)) if is_name(name) => {
                Self::Guest { sandbox: name.to_owned(), path: path.to_owned() }
            }
            _ => Self::Here(PathBuf::from(text)),
        })
    }
}

fn is_name(text: &str) -> bool {
    let grammar = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&text.len()) && text.bytes().all(grammar)
}

/// A path of the guest, made absolute and taken apart for copying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestPath {
    /// Absolute, without `.`, empty parts or a slash at its end; `..` is the guest's to resolve.
    pub(crate) path: String,
    pub(crate) form: Form,
}

/// How a path was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    /// As a folder: with a slash at its end, or as nothing at all.
    Folder,
    /// As `…/.`: what is in the folder, without the folder.
    Contents,
}

impl GuestPath {
    pub(crate) fn new(cwd: &str, text: &str) -> Self {
        let parts = cwd.split('/').filter(|_| !text.starts_with('/')).chain(text.split('/'));
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty() && *part != ".").collect();
        let form = if text == "." || text.ends_with("/.") {
            Form::Contents
        } else if text.is_empty()
            || text.ends_with('/')
            || matches!(parts.last(), None | Some(&".."))
        {
            Form::Folder
        } else {
            Form::Plain
        };
        Self { path: format!("/{}", parts.join("/")), form }
    }

    /// The folder it is in, and its name there; none for the root and for `..`.
    pub(crate) fn split(&self) -> Option<(&str, &str)> {
        let (parent, name) = self.path.rsplit_once('/')?;
        let parent = if parent.is_empty() { "/" } else { parent };
        (!name.is_empty() && name != "..").then_some((parent, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_side_a_path_is_on() {
        let here = |path: &str| Place::Here(PathBuf::from(path));
        let guest =
            |sandbox: &str, path: &str| Place::Guest { sandbox: sandbox.into(), path: path.into() };
        for (text, place) in [
            ("-", Place::Stream),
            ("box:", guest("box", "")),
            ("box:/a:b", guest("box", "/a:b")),
            ("my_box-1:a/b", guest("my_box-1", "a/b")),
            ("./a:b", here("./a:b")),
            ("/a:b", here("/a:b")),
            ("a b:c", here("a b:c")),
            (":x", here(":x")),
            ("plain", here("plain")),
            ("-x", here("-x")),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
    }

    #[test]
    fn paths_of_the_guest() {
        for (text, path, form, split) in [
            ("", "/home/u", Form::Folder, Some(("/home", "u"))),
            ("a", "/home/u/a", Form::Plain, Some(("/home/u", "a"))),
            ("a/", "/home/u/a", Form::Folder, Some(("/home/u", "a"))),
            ("a/.", "/home/u/a", Form::Contents, Some(("/home/u", "a"))),
            (".", "/home/u", Form::Contents, Some(("/home", "u"))),
            ("./a//b", "/home/u/a/b", Form::Plain, Some(("/home/u/a", "b"))),
            ("..", "/home/u/..", Form::Folder, None),
            ("/", "/", Form::Folder, None),
            ("/etc", "/etc", Form::Plain, Some(("/", "etc"))),
            ("/.", "/", Form::Contents, None),
        ] {
            let guest = GuestPath::new("/home/u/", text);
            assert_eq!(
                (guest.path.as_str(), guest.form, guest.split()),
                (path, form, split),
                "{text:?}"
            );
        }
    }
}
