use super::*;

#[test]
fn the_path_goes_on_as_everywhere() {
    assert!(PATH.ends_with(&format!(":{}", catalog::DEFAULT_PATH)));
}

#[test]
fn the_config_in_a_key_reads_as_it_always_did() {
    /// As it was when the first keys were made.
    #[derive(Debug)]
    #[expect(dead_code, reason = "its text is what counts")]
    struct Config {
        user: String,
        home: String,
        cwd: String,
        env: BTreeMap<String, String>,
    }
    let now = config();
    let first = Config {
        user: now.user,
        home: HOME.to_owned(),
        cwd: now.cwd,
        env: now.env.into_iter().collect(),
    };
    assert_eq!(config_text(), format!("{first:?}"));
}
