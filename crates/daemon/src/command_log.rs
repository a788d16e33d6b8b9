//! The output of one command, on disk: bounded, and replayed by many readers.
