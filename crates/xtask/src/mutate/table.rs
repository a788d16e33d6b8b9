//! The checks, how each is taken out, and the case that fails without it.

/// One check taken out.
pub(super) struct Mutation {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    /// Stands in the file exactly once.
    pub(super) find: &'static str,
    pub(super) replace: &'static str,
    pub(super) case: &'static str,
}

macro_rules! mutations {
    ($($name:literal in $file:literal: $find:literal => $replace:literal fails $case:literal;)+) => {
        &[$(Mutation { name: $name, file: $file, find: $find, replace: $replace, case: $case }),+]
    };
}

pub(super) const TABLE: &[Mutation] = mutations! {
    "names: any character" in "crates/egress/src/host.rs":
        "text.chars().try_for_each(check_character)?;\n        text.split" => "text.split"
        fails "names::nul_in_a_name";
    "names: numbers are names" in "crates/egress/src/host.rs":
        "if text.rsplit('.').next().is_some_and(is_number)" => "if false"
        fails "names::names_that_are_addresses";
    "names: case matters" in "crates/egress/src/host.rs":
        "let lower = text.to_ascii_lowercase();" => "let lower = text.to_owned();"
        fails "names::case_of_letters";
    "names: a suffix is enough" in "crates/egress/src/policy/host_pattern.rs":
        "Self::Exact(exact) => exact == host," =>
        "Self::Exact(exact) => host.as_str().ends_with(exact.as_str()),"
        fails "names::look_alikes";
    "names: a star is none or more" in "crates/egress/src/policy/host_pattern.rs":
        "None => fits && parts.next().is_some()," => "None => fits,"
        fails "names::wildcard_and_labels";
    "names: an inner star is any depth" in "crates/egress/src/policy/host_pattern.rs":
        "Some(()) => fits && parts.next().is_none()," => "Some(()) => fits,"
        fails "names::wildcard_and_labels";
    "resolve: any name" in "crates/egress/src/policy/resolve.rs":
        "        } else {\n            Err(self.unlisted(host))\n        }\n    }\n\n    /// Whether the name is held back" =>
        "        } else {\n            Ok(Grant { rule: default_rule() })\n        }\n    }\n\n    /// Whether the name is held back"
        fails "dns::unlisted_names_are_not_sent_on";
    "dial: reserved addresses" in "crates/egress/src/policy/dial.rs":
        "if let Some(class) = reserved(address) {" => "if let Some(class) = reserved(address).filter(|_| false) {"
        fails "reserved::private_networks";
    "dial: an address without a name" in "crates/egress/src/policy/dial.rs":
        "(None, Reach::Listed) => Err(Denial { rule: default_rule(), why: Why::NoName })," =>
        "(None, Reach::Listed) => Ok(Grant { rule: default_rule() }),"
        fails "addresses::address_never_given_out";
    "dial: denied subnets" in "crates/egress/src/policy/dial.rs":
        "if let Some(net) = self.subnets.denying(address) {" =>
        "if let Some(net) = self.subnets.denying(address).filter(|_| false) {"
        fails "addresses::a_subnet_allows_addresses";
    "dial: any address of a name that rules answer for" in "crates/egress/src/policy/dial.rs":
        "&& self.stands_in(address, name)" => "&& self.answers(name)"
        fails "rules::a_canned_answer_of_nobody";
    "dial: any port of the host" in "crates/egress/src/policy/dial.rs":
        "if self.host_ports.contains(&port) {" => "if !self.host_ports.is_empty() {"
        fails "reserved::ports_of_the_host";
    "reserved: metadata" in "crates/egress/src/address.rs":
        "if METADATA_V4.contains(&address) {" => "if false {"
        fails "reserved::metadata_of_clouds";
    "reserved: what IPv6 carries" in "crates/egress/src/address.rs":
        "carried.next().or_else(|| reserved_v6(address))" => "drop(carried); reserved_v6(address)"
        fails "dns::forms_of_inner_addresses";
    "dial: the host's own addresses" in "crates/egress/src/gateway/connection.rs":
        "if !named && !is_host_itself(host) && (self.is_own)(to) {" => "if false {"
        fails "reserved::addresses_of_the_host";
    "hello: the name need not be that of the address" in "crates/egress/src/gateway/connection/plan.rs":
        "(Ok(treatment), Some(_)) => Ok(" => "(Ok(treatment), _) => Ok("
        fails "hello::name_that_is_not_allowed";
    "hello: several names" in "crates/egress/src/gateway/client_hello.rs":
        "if kind != 0 || !names.0.is_empty() {" => "if kind != 0 {"
        fails "hello::two_names";
    "hello: what may be hidden is passed on" in "crates/egress/src/gateway/connection/plan.rs":
        "(Treatment::Inspect { grant, opened: false }, Encrypted::No) => spliced(" =>
        "(Treatment::Inspect { grant, opened: false }, _) => spliced("
        fails "hello::encrypted_hello";
    "hello: a name may be missing" in "crates/egress/src/gateway/connection/plan.rs":
        "return unnamed(by_itself, hello.encrypted);" =>
        "return unnamed(by_itself.or_else(|| Some(candidates.into_iter().next()?.treatment)), hello.encrypted);"
        fails "hello::no_name";
    "request: another host on the connection" in "crates/egress/src/gateway/http/session.rs":
        "            candidates.contains(&asked.whom) && asked.port" => "            asked.port"
        fails "fronting::a_stream_beside_lawful_ones";
    "request: another port" in "crates/egress/src/gateway/http/session.rs":
        " && asked.port.is_none_or(|port| port == self.port());" => ";"
        fails "names::names_that_are_none";
    "request: hosts that disagree" in "crates/egress/src/gateway/http/asked.rs":
        "(Some(url), Some(header)) if parse(url)? != parse(header)? => {" =>
        "(Some(url), Some(header)) if false && parse(url)? != parse(header)? => {"
        fails "fronting::two_hosts_in_one_request";
    "request: the first of several hosts" in "crates/egress/src/gateway/http/asked.rs":
        "if values.next().is_some() {" => "if false {"
        fails "smuggling::two_hosts";
    "request: CONNECT" in "crates/egress/src/policy/request.rs":
        "\"CONNECT\" => Some(\"this is no proxy: CONNECT\")," => ""
        fails "smuggling::connect_through_an_allowed_host";
    "request: TRACE" in "crates/egress/src/policy/request.rs":
        "\"TRACE\" => Some(\"TRACE would show what was put in\")," => ""
        fails "smuggling::a_method_that_says_back";
    "rules: only what is written" in "crates/egress/src/policy/reading.rs":
        "        texts.push(encode(check(&current)?));" => "        check(&current)?;"
        fails "rules::other_ways_to_write_a_path";
    "rules: dot segments" in "crates/egress/src/policy/reading.rs":
        "if text.split('/').any(is_dots)" => "if false && text.split('/').any(is_dots)"
        fails "rules::climbing_out_of_a_prefix";
    "rules: the method that is said" in "crates/egress/src/policy/reading.rs":
        "values(head.headers, &METHOD_OVERRIDES)" => "values(head.headers, &[])"
        fails "rules::a_method_by_another_name";
    "rules: the path that is said" in "crates/egress/src/policy/reading.rs":
        "values(head.headers, &PATH_OVERRIDES)" => "values(head.headers, &[])"
        fails "rules::a_path_by_another_name";
    "rules: headers only as written" in "crates/egress/src/policy/fit.rs":
        "fit_pairs(wanted, &self.headers, Place::Headers, how)" =>
        "fit_pairs(wanted, &self.headers, Place::Query, how)"
        fails "rules::a_header_by_another_name";
    "rules: a header beside ours" in "crates/egress/src/gateway/http/edits.rs":
        "    alike::take_out(&mut parts.headers, |name| set_by_us.iter().any(|ours| ours == name));" =>
        "    drop(set_by_us);"
        fails "rules::a_header_beside_the_one_that_is_set";
    "rules: deny" in "crates/egress/src/policy/request.rs":
        "                    return Err(Denial { rule: self.label(Some(index)), why: Why::Rule });" =>
        "                    continue;"
        fails "rules::publish_to_a_registry";
    "credentials: headers of others" in "crates/egress/src/gateway/http/edits.rs":
        "        pin::headers(&mut parts.headers, headers, &ours);" => "        let _ = (headers, ours);"
        fails "credentials::foreign_keys_are_taken_out";
    "credentials: queries of others" in "crates/egress/src/gateway/http/edits.rs":
        "and_then(|text| pin::query(text, query))" => "and_then(|text| pin::query(text, query).filter(|_| false))"
        fails "credentials::foreign_keys_are_taken_out";
    "credentials: in the clear" in "crates/egress/src/gateway/http/edits.rs":
        "if put_in && way == Way::Open {" => "if false {"
        fails "credentials::not_in_the_clear";
    "credentials: said back" in "crates/egress/src/gateway/http/edits.rs":
        "    texts.push(keep(exposed));\n    Ok(true)" => "    Ok(true)"
        fails "credentials::it_is_not_said_back";
    "credentials: placeholders elsewhere" in "crates/egress/src/gateway/http/session.rs":
        "                Self::guard_placeholders(parts, Some(&host), &active)?;\n" => ""
        fails "credentials::other_hosts_get_nothing";
    "live: a name that is said" in "crates/egress/src/gateway/spliced.rs":
        "gateway.may_dial(active, address, port, peer.led_by(host))" =>
        "gateway.may_dial(active, address, port, Some(host))"
        fails "live::a_name_that_is_said_keeps_nothing";
    "live: spliced connections stay" in "crates/egress/src/gateway/spliced.rs":
        "if !active.is_some_and(|active| self.stays(&active, peer, gateway)) {" =>
        "if active.is_none() {"
        fails "live::spliced_connections_are_cut";
};

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn every_check_is_where_the_table_says() {
        for mutation in TABLE {
            let path = format!("{}/../../{}", env!("CARGO_MANIFEST_DIR"), mutation.file);
            let text = std::fs::read_to_string(path).unwrap();
            assert_eq!(text.matches(mutation.find).count(), 1, "{}", mutation.name);
        }
    }
}
