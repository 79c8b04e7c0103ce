//! CERT micro-controllers: control code in, register writes and waits out.

pub mod fabric;
