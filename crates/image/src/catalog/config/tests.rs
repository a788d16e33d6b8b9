use super::*;

#[test]
fn a_record_of_before_is_read_and_one_of_today_keeps_the_order() {
    let old = r#"{"user": "u", "home": "/h", "cwd": "/h", "env": {"PATH": "/bin", "A": "1=2"}}"#;
    let config: Config = serde_json::from_str(old).unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(config.env, [pair("PATH", "/bin"), pair("A", "1=2")]);
    assert_eq!((config.user.as_str(), config.cmd.len()), ("u", 0));
    let full = Config {
        entrypoint: vec!["/e".to_owned()],
        cmd: vec!["a".to_owned(), String::new()],
        ..config
    };
    let text = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), full);
    assert!(!format!("{full:?}").contains("/bin"), "no environment in a log");
    assert!(serde_json::from_str::<Config>(&text.replace("A=1=2", "A")).is_err());
}
