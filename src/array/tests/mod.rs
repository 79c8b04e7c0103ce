//! Tests of the array through its register map.

mod path;
mod rig;
