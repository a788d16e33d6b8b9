//! The guest agent that this binary carries.

use daemon::AgentProgram;

/// Built static by this crate's build script.
pub(crate) const AGENT: AgentProgram =
    AgentProgram(include_bytes!(concat!(env!("OUT_DIR"), "/fumehood-agent")));
