//! fauxdna's core: host memory, queues, micro-controllers and the AIE array. The only file that knows Python.

#[allow(missing_docs)]
#[rustfmt::skip]
pub mod abi;
pub mod cert;
pub mod memory;

use pyo3::prelude::*;

/// The core as `fauxdna._core`.
#[pymodule]
fn _core(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
