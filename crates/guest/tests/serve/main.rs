//! The agent as an ordinary process, driven over its socket by a client made of `protocol`.

#[cfg(test)]
mod channel;
#[cfg(test)]
mod client;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod files;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tunnels;
