//! The whole through its binary, on real guests.
//!
//! `test.sh` builds the binary, prepares kernel, image and templates, and says where they are:
//! `FUMEHOOD_TEST_BINARY`, `FUMEHOOD_TEST_CACHE`. `FUMEHOOD_TEST_FULL` adds the long ones.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "they wait for real things"
)]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod hood;
mod program;
mod registry;

mod basics;
mod broken_off;
mod builds;
mod clients;
mod commit;
mod containers;
mod deepsec;
mod drives;
mod emulator;
mod ends;
mod env;
mod files;
mod fork;
mod full_disk;
mod gateway;
mod identity;
mod images;
mod lent;
mod lifecycle;
mod memory;
mod odd;
mod pause;
mod persistence;
mod pool;
mod ports;
mod projects;
mod recovery;
mod registries;
mod remote;
mod routes;
mod screen;
mod sources;
mod templates;
mod terminal;
mod tools;
mod usage;
mod vercel_terminal;
