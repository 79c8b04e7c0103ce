//! Tile arithmetic and its benchmarks as Python functions.

use crate::kernels::{Simd, bench};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};
use std::time::Duration;

/// Adds this file's functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(tile_execute, module)?)?;
    module.add_function(wrap_pyfunction!(simd_levels, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_gemm, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_layer, module)?)
}

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
        None => Simd::detect(),
        Some(name) => Simd::from_name(name)
            .filter(|level| Simd::available().contains(level))
            .ok_or_else(|| PyValueError::new_err(format!("simd {name}: this processor has {:?}", Simd::available())))?,
    };
    let mut bytes = memory.to_vec();
    match crate::kernels::execute(opcode, descriptor, &operands, &mut bytes, simd) {
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

/// The int8 matrix product of one tile (packing included) against a register-only dot-product loop, in 10**9 MAC/s.
#[pyfunction]
fn benchmark_gemm<'py>(py: Python<'py>, seconds: f64) -> PyResult<Bound<'py, PyDict>> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(format!("seconds: {error}")))?;
    let gemm = py.detach(|| bench::gemm(duration));
    let result = PyDict::new(py);
    result.set_item("gmacs", gemm.kernel)?;
    result.set_item("register_loop_gmacs", gemm.register_loop)?;
    result.set_item(
        "fraction_of_peak",
        if gemm.register_loop > 0.0 {
            gemm.kernel / gemm.register_loop
        } else {
            0.0
        },
    )?;
    Ok(result)
}

/// 10**9 MAC/s of one convolution layer as one instruction; in-channels 0: depthwise.
#[pyfunction]
#[pyo3(signature = (out, channels, kernel, signed, seconds, simd=None))]
fn benchmark_layer(
    py: Python<'_>,
    out: (u32, u32),
    channels: (u32, u32),
    kernel: (u32, u32),
    signed: bool,
    seconds: f64,
    simd: Option<&str>,
) -> PyResult<f64> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(format!("seconds: {error}")))?;
    let simd = simd.and_then(Simd::from_name).unwrap_or_else(Simd::detect);
    let layer = bench::Layer {
        out,
        channels,
        kernel,
        in_type: u32::from(signed),
    };
    Ok(py.detach(|| layer.rate(simd, duration)))
}

/// Names of the instruction-set levels that this processor has, lowest first.
#[pyfunction]
fn simd_levels() -> Vec<&'static str> {
    Simd::available().into_iter().map(Simd::name).collect()
}
