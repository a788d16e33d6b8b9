//! End-to-end tests: the real binary, real guests, other people's clients. See `e2e/`.
