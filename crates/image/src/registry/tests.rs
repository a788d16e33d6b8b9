//! Against a registry that answers as it is told.

mod fake;
mod pulls;
mod pushes;
