//! `fumehood policy presets`.

use std::collections::BTreeMap;

use api::network_policy::{Allow, Ordered, RuleReply};
use egress::policy::Preset;

use crate::cli::PolicyPresets;
use crate::commands::ls::json;
use crate::failure::{Exit, Failure};
use crate::network::{preset, rule_line};
use crate::say;

pub(crate) fn run(args: &PolicyPresets) -> Result<Exit, Failure> {
    let text = match (&args.name, args.json) {
        (None, true) => {
            let all = Preset::names().filter_map(Preset::find);
            let all: BTreeMap<&str, _> =
                all.map(|found| (found.name, preset::as_policy(&found))).collect();
            format!("{}\n", json(&all)?)
        }
        (None, false) => list(),
        (Some(name), true) => format!("{}\n", json(&preset::as_policy(&find(name)?))?),
        (Some(name), false) => content(&find(name)?),
    };
    say::out(&text)?;
    Ok(Exit::Command(0))
}

fn find(name: &str) -> Result<Preset, Failure> {
    Preset::find(name.strip_prefix('@').unwrap_or(name)).ok_or_else(|| {
        let names: Vec<&str> = Preset::names().collect();
        let message = format!("there is no preset {name:?}; there are {}", names.join(", "));
        Failure::new(Exit::NotFound, message)
    })
}

fn list() -> String {
    let found = Preset::names().filter_map(Preset::find);
    let told: Vec<String> =
        found.map(|preset| format!("@{}\n  {}\n", preset.name, preset.about)).collect();
    told.join("\n")
}

/// What it is for, then its hosts, those with the same rules together.
fn content(found: &Preset) -> String {
    let mut text = format!("@{}\n  {}\n", found.name, found.about);
    let Some(Allow::Rules(Ordered(domains))) = preset::as_policy(found).allow else { return text };
    for group in domains.chunk_by(|(_, rules), (_, others)| rules == others) {
        text.push('\n');
        for (domain, _) in group {
            text.push_str(&format!("{domain}\n"));
        }
        for (index, rule) in group.iter().take(1).flat_map(|(_, rules)| rules).enumerate() {
            let told =
                RuleReply { when: rule.when.clone(), action: rule.action, ..RuleReply::default() };
            text.push_str(&format!("{}\n", rule_line(index, &told)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_what_a_preset_is_for_and_what_is_in_it() {
        assert!(list().contains("@registries-read\n  Packages are read"), "{}", list());
        let text = content(&find("@registries-read").unwrap());
        let wanted =
            "\nregistry.npmjs.org\nregistry.yarnpkg.com\n         [0] GET or HEAD: allow\n";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("[2] any request: deny\n\nnodejs.org\n"), "{text}");
        assert_eq!(find("x").unwrap_err().exit(), Exit::NotFound);
    }
}
