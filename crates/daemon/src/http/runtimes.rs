//! Runtimes: what the default image has by the names that Vercel gives it.

use api::CreateSandbox;

use super::error::{Failure, Reply};
use crate::templates::BaseImage;

const RUNTIMES: [&str; 4] = ["node22", "node24", "node26", "python3.13"];

/// Where commands of a sandbox with a runtime start, and its sources are.
const FOLDER: &str = "/vercel/sandbox";

/// Only the default image has them.
pub(super) fn check(body: &CreateSandbox) -> Reply<()> {
    let Some(runtime) = body.runtime.as_deref() else { return Ok(()) };
    let fault = |text: String| Err(Failure::bad_request(format!("Invalid request: {text}")));
    if !RUNTIMES.contains(&runtime) {
        return fault(format!("`runtime` {runtime:?} is not one of {}", RUNTIMES.join(", ")));
    }
    match body.image {
        Some(_) => {
            fault("`runtime` is for the default image, and `image` names another".to_owned())
        }
        None => Ok(()),
    }
}

/// Puts the runtime that was asked for first on the path, unless the sandbox has a path of its own, and
/// has its commands run as whom clients expect. An image of an earlier version has no such user.
pub(super) fn choose(body: &mut CreateSandbox, image: &mut BaseImage, user: Option<&str>) {
    if body.runtime.is_none() {
        return;
    }
    FOLDER.clone_into(&mut image.cwd);
    if let Some(user) = user {
        user.clone_into(&mut image.user);
    }
    put_first(body, &image.env);
}

/// With the environment of the image.
pub(super) fn put_first(body: &mut CreateSandbox, env: &[(String, String)]) {
    let Some(runtime) = &body.runtime else { return };
    let others = env.iter().rfind(|(name, _)| name == "PATH");
    let others = others.map_or("", |(_, path)| path.as_str());
    let path = || format!("/vercel/runtimes/{runtime}/bin:{others}");
    body.env.0.entry("PATH".to_owned()).or_insert_with(path);
}

#[cfg(test)]
mod tests {
    use machine::{Format, Layer};

    use super::*;

    fn asked(runtime: Option<&str>) -> CreateSandbox {
        CreateSandbox { runtime: runtime.map(str::to_owned), ..CreateSandbox::default() }
    }

    fn image() -> BaseImage {
        BaseImage {
            name: "default".to_owned(),
            digest: String::new(),
            layer: Layer { path: "disk".into(), format: Format::Raw },
            user: "fumehood".to_owned(),
            cwd: "/home/fumehood".to_owned(),
            env: vec![("PATH".to_owned(), "/usr/bin".to_owned())],
        }
    }

    #[test]
    fn only_what_the_default_image_has() {
        let check = |body: &CreateSandbox| check(body).map_err(|Failure(refusal)| refusal.message);
        for runtime in RUNTIMES {
            assert_eq!(check(&asked(Some(runtime))), Ok(()));
        }
        assert_eq!(check(&asked(None)), Ok(()));
        assert!(check(&asked(Some("node18"))).unwrap_err().contains("`runtime` \"node18\""));
        let both = CreateSandbox { image: Some("debian".to_owned()), ..asked(Some("node22")) };
        assert!(check(&both).unwrap_err().contains("`image`"));
    }

    #[test]
    fn a_runtime_comes_first_with_its_user_and_a_path_of_the_sandboxs_own_stays() {
        let (mut body, mut from) = (asked(Some("node22")), image());
        choose(&mut body, &mut from, Some("vercel-sandbox"));
        assert_eq!(body.env.0["PATH"], "/vercel/runtimes/node22/bin:/usr/bin");
        assert_eq!((&*from.user, &*from.cwd), ("vercel-sandbox", "/vercel/sandbox"));

        let (mut body, mut from) = (asked(Some("node22")), image());
        body.env.0.insert("PATH".to_owned(), "/mine".to_owned());
        choose(&mut body, &mut from, None);
        assert_eq!(body.env.0["PATH"], "/mine");
        assert_eq!((&*from.user, &*from.cwd), ("fumehood", "/vercel/sandbox"));

        let (mut body, mut from) = (asked(None), image());
        choose(&mut body, &mut from, Some("vercel-sandbox"));
        assert!(body.env.0.is_empty());
        assert_eq!((&*from.user, &*from.cwd), ("fumehood", "/home/fumehood"));
    }
}
