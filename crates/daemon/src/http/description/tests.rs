use std::collections::BTreeSet;

use super::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

fn description() -> Value {
    let (_, description) = crate::http::described();
    description
}

/// `UPDATE_DOCS=1 cargo test -p daemon description` writes it anew.
#[test]
fn the_file_is_what_the_code_says() {
    let text = format!("{}\n", serde_json::to_string_pretty(&description()).unwrap());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(kept == text, "docs/openapi.json is not what the routes are; write it anew");
}

/// Every type that is named is told.
#[test]
fn no_reference_leads_nowhere() {
    let description = description();
    let text = description.to_string();
    let schemas = &description["components"]["schemas"];
    let named = text.split("#/components/schemas/").skip(1);
    let named: BTreeSet<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
    assert!(20 < named.len());
    for name in named {
        assert!(schemas[name].is_object(), "{name}");
    }
}

#[test]
fn every_route_says_what_it_does() {
    let description = description();
    let mut said = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "summaries.rs: {method} {path}");
            said.insert((method.as_str(), path.as_str()));
        }
    }
    for (method, path, _) in summaries::SUMMARIES {
        assert!(said.contains(&(*method, *path)), "no such route: {method} {path}");
    }
}

#[test]
fn the_page_names_every_route_and_takes_nothing_from_elsewhere() {
    let description = description();
    let page = page::page(&description);
    for path in description["paths"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
    for foreign in ["href=\"http", "<script", "src=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
