//! fauxdna's core: host memory, queues, micro-controllers and the AIE array. `python` holds the bindings.

#[allow(missing_docs, reason = "generated")]
#[rustfmt::skip]
pub mod abi;
pub mod array;
pub mod cert;
pub mod client;
pub mod completions;
pub mod descriptor;
pub mod door;
pub mod engine;
pub mod error;
pub mod eventfd;
pub mod firmware_ring;
pub mod interrupts;
pub mod kernels;
pub mod latency;
pub mod memory;
pub mod notify;
pub mod python;
pub mod queue;

use pyo3::prelude::*;

/// The core as `fauxdna._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<python::completions::Completions>()?;
    module.add_class::<python::door::Call>()?;
    module.add_class::<python::door::Door>()?;
    module.add_class::<python::engine::Engine>()?;
    python::kernels::register(module)?;
    module.add_class::<python::memory::AddressSpace>()?;
    module.add_class::<python::memory::FirmwareRing>()?;
    module.add_class::<python::memory::Interrupts>()?;
    module.add_class::<python::queue::HostQueue>()?;
    module.add_function(wrap_pyfunction!(python::queue::line_round_trip, module)?)?;
    Ok(())
}
