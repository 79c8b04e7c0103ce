//! The core as Python sees it: `fauxdna._core`. Nothing outside this directory and `lib.rs` knows Python.

pub mod completions;
pub mod door;
pub mod engine;
pub mod kernels;
pub mod memory;
pub mod queue;
