//! The host end of the guest protocol: one task owns the connection to one machine's agent.
