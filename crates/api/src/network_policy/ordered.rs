//! Objects whose members keep the order in which they were written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::Rule;
use crate::object::Object;

/// An object; a name that comes twice is refused when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<V>(pub Vec<(String, V)>);

impl<V: Serialize> Serialize for Ordered<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<V: schemars::JsonSchema> schemars::JsonSchema for Ordered<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, V>::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, V>::json_schema(generator)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OrderedVisitor(PhantomData))
    }
}

struct OrderedVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for OrderedVisitor<V> {
    type Value = Ordered<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<V>, A::Error> {
        let mut members = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some((name, value)) = map.next_entry::<String, V>()? {
            if !names.insert(name.clone()) {
                return Err(Error::custom(format_args!("{name:?} comes twice")));
            }
            members.push((name, value));
        }
        Ok(Ordered(members))
    }
}

/// The domains that are allowed: a list of names, or an object of names with their rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Allow {
    Names(Vec<String>),
    Rules(Ordered<Vec<Rule>>),
}

impl schemars::JsonSchema for Allow {
    fn schema_name() -> Cow<'static, str> {
        "Allow".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names = generator.subschema_for::<Vec<String>>();
        let rules = generator.subschema_for::<BTreeMap<String, Vec<Rule>>>();
        schemars::json_schema!({
            "description": "The domains that are allowed: names, or names with their rules in order.",
            "anyOf": [names, rules],
        })
    }
}

impl Serialize for Allow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Names(names) => names.serialize(serializer),
            Self::Rules(rules) => rules.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AllowVisitor)
    }
}

struct AllowVisitor;

impl<'de> Visitor<'de> for AllowVisitor {
    type Value = Allow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names, or an object of names with lists of rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Allow, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(Allow::Names)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Allow, A::Error> {
        let Ordered(named) =
            Ordered::<Vec<Object<Rule>>>::deserialize(MapAccessDeserializer::new(map))?;
        let bare = |rules: Vec<Object<Rule>>| rules.into_iter().map(|Object(rule)| rule).collect();
        let named = named.into_iter().map(|(name, rules)| (name, bare(rules))).collect();
        Ok(Allow::Rules(Ordered(named)))
    }
}
