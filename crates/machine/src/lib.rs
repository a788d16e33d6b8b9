//! One QEMU machine: boot it, freeze it into a template, clone it, find it again, kill it.
//!
//! This crate is given paths and gives byte streams. It knows neither what is said over the agent's
//! stream nor what a sandbox is; and it believes nothing that a guest can change.
//!
//! The way of a sandbox through it:
//!
//! 1. [`Qemu::find`] and [`probe_kvm`] say what this host can do; together with kernel and
//!    initramfs that is a [`Platform`].
//! 2. [`Machine::boot`] (usually by [`boot_until_ready`]) with its RAM in a [`Draft`], then
//!    [`Machine::save_template`]: a [`Template`].
//! 3. [`Machine::clone_from`] starts a machine on the template's memory in milliseconds.
//! 4. [`Machine::begin_fork`] and [`Machine::fork`] freeze a machine that runs, for a moment, into a
//!    [`ForkPoint`]; [`Machine::clone_fork`] starts others on it.
//! 5. [`Machine::pause`] puts a machine into a file, as [`SavedMemory`]; [`Machine::launch_paused`] and
//!    [`Machine::recall`] make one of it again.
//! 6. [`Machine::adopt`] and [`strays`] find machines again after the server was killed.
//!
//! What a machine's process is started and held with is there for other processes that outlive the
//! server too: [`Detached`], [`Process`], [`Leash`], [`SocketFolder`].

mod accel;
mod arguments;
mod confine;
mod console;
mod detached;
mod disk;
mod event;
mod failure;
mod identity;
mod key;
mod layer;
mod machine;
mod platform;
mod port;
mod process;
mod qemu;
mod qmp;
mod ram;
mod socket_folder;
mod sys;
mod template;
mod tsc;

pub use accel::{Accel, KvmState, probe_kvm};
pub use arguments::{GUEST_MAC, MTU, SLOTS, Shape};
pub use confine::is_confining;
pub use detached::{Detached, Sockets};
pub use disk::{
    DISK_GIB, Drive, Format, Layer, Root, make_blank_overlay, make_overlay, merge_overlay,
};
pub use event::{Event, Exit, RunState};
pub use failure::{BootFailure, Retry, Step, boot_until_ready, record_failure};
pub use identity::{InvalidMachineId, MachineId, Stray, strays};
pub use key::Key;
pub use layer::{LayerError, check_layer};
pub use machine::{
    AdoptError, Adoption, BootSpec, CloneSpec, ControlError, ForkBegun, ForkError, ForkPoint,
    ForkSpec, ForkTaken, FreeBlocks, GuestMemory, Machine, Misfit, PauseBegun, PauseError,
    PauseSpec, Paused, Ram, SaveError, SavedMemory, Start,
};
pub use platform::{Artifact, ArtifactError, Platform};
pub use port::{AgentPort, NETWORK_MESSAGE_MAX, NetworkPort};
pub use process::{Leash, Process};
pub use qemu::{FindError, Qemu, Version};
pub use socket_folder::SocketFolder;
pub use template::{Draft, Template, TemplateError, Templates};
