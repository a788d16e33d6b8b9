//! A policy as it is shown: in the mode form, without the values of headers.

use api::network_policy::{
    self as wire, CannedResponse, CredentialUse, ForwardRuleReply, InjectionRuleReply,
    NetworkPolicyReply, Ordered, PinUse, ReplyMode, ResponseRuleReply, RuleAction, RuleReply,
};
use egress::policy::{
    Action, Canned, Cidr, Credential, Domain, Edits, Match, PairMatch, Pin, Place, Policy, Reach,
    TextMatch,
};

/// What a client is shown of the policy.
#[must_use]
pub fn reply(policy: &Policy) -> NetworkPolicyReply {
    let own = || policy.domains.iter().filter(|domain| domain.preset.is_none());
    let mut presets: Vec<String> =
        policy.domains.iter().filter_map(|domain| domain.preset.clone()).collect();
    presets.dedup();
    let texts = |nets: &[Cidr]| nets.iter().map(Cidr::to_string).collect();
    let rules = own().map(|domain| (domain.to_string(), domain.rules.iter().map(rule).collect()));
    let mut reply = NetworkPolicyReply {
        mode: mode(policy),
        allowed_domains: own().map(Domain::to_string).collect(),
        allowed_cidrs: texts(&policy.subnets.allow),
        denied_cidrs: texts(&policy.subnets.deny),
        injection_rules: Vec::new(),
        forward_rules: Vec::new(),
        response_rules: Vec::new(),
        rules: own().any(|domain| !domain.rules.is_empty()).then(|| Ordered(rules.collect())),
        presets,
        strict: policy.strict.then_some(true),
        host_ports: policy.host_ports.iter().copied().collect(),
    };
    for domain in own() {
        add_old_form(domain, &mut reply);
    }
    reply
}

fn mode(policy: &Policy) -> ReplyMode {
    let empty = policy.domains.is_empty()
        && policy.subnets.allow.is_empty()
        && policy.subnets.deny.is_empty()
        && policy.host_ports.is_empty();
    match policy.reach {
        Reach::Public => ReplyMode::AllowAll,
        Reach::Listed if empty => ReplyMode::DenyAll,
        Reach::Listed => ReplyMode::Custom,
    }
}

/// The rules that Vercel has a form for.
fn add_old_form(domain: &Domain, reply: &mut NetworkPolicyReply) {
    for rule in &domain.rules {
        let (domain, when) = (domain.to_string(), when(&rule.when));
        match &rule.then {
            Action::Send(edits) => {
                let mut header_names = header_names(edits);
                header_names.extend(edits.credentials.iter().filter_map(header_of));
                if !header_names.is_empty() {
                    reply.injection_rules.push(InjectionRuleReply { domain, header_names, when });
                }
            }
            Action::Forward(to) => {
                let forward_url = to.to_string();
                reply.forward_rules.push(ForwardRuleReply { domain, forward_url, when });
            }
            Action::Respond(canned) => {
                let CannedResponse { status_code, headers, body, content_type } = response(canned);
                reply.response_rules.push(ResponseRuleReply {
                    domain,
                    status_code,
                    headers,
                    body,
                    content_type,
                    when,
                });
            }
            Action::Deny => {}
        }
    }
}

fn header_names(edits: &Edits) -> Vec<String> {
    edits.headers.iter().map(|header| header.name.clone()).collect()
}

fn header_of(credential: &Credential) -> Option<String> {
    match &credential.place {
        Place::Header { name, .. } => Some(name.clone()),
        Place::Basic { .. } => Some("authorization".to_owned()),
        Place::Query { .. } | Place::Placeholder(_) => None,
    }
}

fn rule(rule: &egress::policy::Rule) -> RuleReply {
    let shown = RuleReply { when: when(&rule.when), ..RuleReply::default() };
    match &rule.then {
        Action::Deny => RuleReply { action: Some(RuleAction::Deny), ..shown },
        Action::Forward(to) => RuleReply { forward_url: Some(to.to_string()), ..shown },
        Action::Respond(canned) => RuleReply { response: Some(response(canned)), ..shown },
        Action::Send(edits) => RuleReply {
            action: Some(RuleAction::Allow),
            header_names: header_names(edits),
            credential: edits.credentials.first().map(credential),
            pin: Some(pin(&edits.pin)),
            ..shown
        },
    }
}

fn credential(credential: &Credential) -> CredentialUse {
    let shown = CredentialUse { secret: credential.secret.to_string(), ..CredentialUse::default() };
    match &credential.place {
        Place::Header { name, prefix } => {
            let (name, prefix) = (Some(name.clone()), Some(prefix.clone()));
            CredentialUse { header: Some(wire::CredentialHeader { name, prefix }), ..shown }
        }
        Place::Basic { user } => {
            CredentialUse { basic: Some(wire::CredentialBasic { user: user.clone() }), ..shown }
        }
        Place::Query { name } => {
            let query = wire::CredentialQuery { name: Some(name.clone()) };
            CredentialUse { query: Some(query), ..shown }
        }
        Place::Placeholder(_) => CredentialUse { placeholder: Some(true), ..shown },
    }
}

fn pin(pin: &Pin) -> PinUse {
    match pin {
        Pin::Off => PinUse::Switch(false),
        Pin::On { headers, query } if headers.is_empty() && query.is_empty() => {
            PinUse::Switch(true)
        }
        Pin::On { headers, query } => PinUse::Beside(wire::PinBeside {
            headers: headers.iter().cloned().collect(),
            query: query.iter().cloned().collect(),
        }),
    }
}

fn response(canned: &Canned) -> CannedResponse {
    let is_type = |(name, _): &&(String, String)| name == "content-type";
    let content_type = canned.headers.iter().find(is_type).map(|(_, value)| value.clone());
    let others = canned.headers.iter().filter(|header| !is_type(header)).cloned();
    let headers: std::collections::BTreeMap<String, String> = others.collect();
    let body =
        (!canned.body.is_empty()).then(|| String::from_utf8_lossy(&canned.body).into_owned());
    CannedResponse {
        status_code: canned.status,
        headers: (!headers.is_empty()).then_some(headers),
        body,
        content_type,
    }
}

fn when(when: &Match) -> Option<wire::Match> {
    let pairs = |pairs: &[PairMatch]| {
        let pair = |pair: &PairMatch| wire::PairMatch {
            key: pair.key.as_ref().map(text),
            value: pair.value.as_ref().map(text),
        };
        (!pairs.is_empty()).then(|| pairs.iter().map(pair).collect())
    };
    let shown = wire::Match {
        path: when.path.as_ref().map(text),
        method: (!when.methods.is_empty()).then(|| when.methods.clone()),
        query_string: pairs(&when.query),
        headers: pairs(&when.headers),
    };
    (shown != wire::Match::default()).then_some(shown)
}

fn text(text: &TextMatch) -> wire::TextMatch {
    let none = wire::TextMatch::default();
    match text {
        TextMatch::Exact(text) => wire::TextMatch { exact: Some(text.clone()), ..none },
        TextMatch::StartsWith(text) => wire::TextMatch { starts_with: Some(text.clone()), ..none },
        TextMatch::Regex(pattern) => {
            wire::TextMatch { regex: Some(pattern.as_str().to_owned()), ..none }
        }
    }
}
