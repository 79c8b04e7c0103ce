//! fauxdna's core: host memory, queues, micro-controllers and the AIE array. `python` holds the bindings.

#[allow(missing_docs)]
#[rustfmt::skip]
pub mod abi;
pub mod array;
pub mod cert;
pub mod client;
pub mod engine;
pub mod error;
pub mod interrupts;
pub mod kernels;
pub mod latency;
pub mod memory;
pub mod python;
pub mod queue;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

/// Runs one arithmetic tile instruction on a copy of `memory` and writes the copy back: (cycles, macs, elements).
///
/// `simd` is scalar, avx2 or avx512 (None: the best). Raises ValueError(text, fault) with a tile_program.Fault number.
#[pyfunction]
#[pyo3(signature = (opcode, descriptor, operands, memory, simd=None))]
fn tile_execute(
    opcode: u32,
    descriptor: &[u8],
    operands: Vec<u32>,
    memory: &Bound<'_, PyByteArray>,
    simd: Option<&str>,
) -> PyResult<(u64, u64, u64)> {
    let simd = match simd {
        None => kernels::Simd::detect(),
        Some(name) => kernels::Simd::from_name(name)
            .filter(|level| kernels::Simd::available().contains(level))
            .ok_or_else(|| PyValueError::new_err(format!("simd {name}: this processor has {:?}", kernels::Simd::available())))?,
    };
    let mut bytes = memory.to_vec();
    match kernels::execute(opcode, descriptor, &operands, &mut bytes, simd) {
        Ok(cost) => {
            // SAFETY: no Python code runs between here and the end of the copy, so nothing else sees or resizes the array.
            unsafe { memory.as_bytes_mut() }.copy_from_slice(&bytes);
            Ok((cost.cycles, cost.macs, cost.elements))
        }
        Err(fault) => Err(PyValueError::new_err((
            format!("tile instruction {opcode:#x}: fault {fault}"),
            fault,
        ))),
    }
}

/// Names of the instruction-set levels that this processor has, lowest first.
#[pyfunction]
fn simd_levels() -> Vec<&'static str> {
    kernels::Simd::available().into_iter().map(kernels::Simd::name).collect()
}

/// The core as `fauxdna._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(tile_execute, module)?)?;
    module.add_function(wrap_pyfunction!(simd_levels, module)?)?;
    module.add_class::<python::engine::Engine>()?;
    module.add_class::<python::memory::AddressSpace>()?;
    module.add_class::<python::memory::Interrupts>()?;
    module.add_class::<python::queue::HostQueue>()?;
    Ok(())
}
