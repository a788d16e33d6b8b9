//! The server itself, under `/v1/fumehood` (ours).

use serde::{Deserialize, Serialize};

/// The generation of this contract. A command line and a server understand each other when
/// theirs are equal, whatever their versions.
pub const API: u32 = 1;

/// `GET /v1/fumehood/version`. Ordered: a greater one is newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Version {
    pub version: String,
    /// When the binary was written, in nanoseconds since 1970: tells builds of one version apart.
    pub build: u64,
    pub api: u32,
}

impl Version {
    /// Whether this one is to give way to `other`.
    pub fn is_older_than(&self, other: &Self) -> bool {
        (numbers(&self.version), self.build) < (numbers(&other.version), other.build)
    }
}

/// `GET /v1/fumehood/pool`: the machines that are ready before anybody asks for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pool {
    /// The most that are kept; 0 where the server keeps none.
    pub size: usize,
    pub parked: Vec<ParkedMachines>,
}

/// Machines that are as good as each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParkedMachines {
    pub image: String,
    pub vcpus: u32,
    pub memory_mib: u32,
    pub machines: usize,
    /// How many are worth keeping, by what was asked for lately; more are made until there are as many.
    #[serde(default)]
    pub wanted: usize,
}

/// The dotted numbers of a version, so that 0.10 is after 0.9.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

/// `POST /v1/fumehood/listen`: where clients on this computer reach the server over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Listener {
    /// For example `http://127.0.0.1:35271`; every request there needs a token.
    pub url: String,
}
