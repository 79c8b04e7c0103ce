//! Tests of the array through its register map.

mod bench;
mod faults;
mod hostile;
mod naive;
mod order;
mod path;
mod process;
mod program;
mod rig;
mod streams;
mod tasks;
