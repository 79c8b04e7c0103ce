//! `HostQueue`.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::{client, latency, queue};

#[pyclass(frozen, module = "fauxdna._core")]
/// `fauxdna._core.HostQueue`.
pub struct HostQueue(client::HostQueue);

#[pymethods]
impl HostQueue {
    #[new]
    #[pyo3(signature = (queue_fd, queue_offset, queue_address, size, doorbell_fd, doorbell_offset, *, layout="padded",
                        capacity=32, kick_fd=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of a Python method")]
    fn new(
        queue_fd: i32,
        queue_offset: u64,
        queue_address: u64,
        size: u64,
        doorbell_fd: i32,
        doorbell_offset: u64,
        layout: &str,
        capacity: u32,
        kick_fd: Option<i32>,
    ) -> PyResult<Self> {
        let layout = match layout {
            "padded" => queue::Layout::Padded,
            "unpadded" => queue::Layout::Unpadded,
            other => {
                return Err(PyValueError::new_err(format!(
                    "queue layout {other:?}: it is 'padded' or 'unpadded'"
                )));
            }
        };
        let (queue, doorbell) = ((queue_fd, queue_offset), (doorbell_fd, doorbell_offset));
        Ok(Self(client::HostQueue::new(
            queue,
            queue_address,
            size,
            doorbell,
            layout,
            capacity,
            kick_fd,
        )?))
    }

    #[staticmethod]
    #[pyo3(signature = (capacity=32))]
    fn required_size(capacity: u32) -> u64 {
        client::HostQueue::required_size(capacity)
    }

    #[pyo3(signature = (code, *, args_address=0, args_length=0, dtrace_address=0, chain=false))]
    fn submit(
        &self,
        code: Vec<(u32, u64)>,
        args_address: u64,
        args_length: u32,
        dtrace_address: u64,
        chain: bool,
    ) -> PyResult<u64> {
        let submission = client::Submission {
            code: &code,
            args_address,
            args_length,
            dtrace_address,
            chain,
        };
        Ok(self.0.submit(&submission)?)
    }

    fn submit_opcode(&self, opcode: u32) -> PyResult<u64> {
        Ok(self.0.submit_opcode(opcode)?)
    }

    fn completion(&self, sequence: u64) -> PyResult<u32> {
        Ok(self.0.completion(sequence)?)
    }

    fn spin(&self, py: Python<'_>, sequence: u64, microseconds: u64) -> PyResult<u32> {
        Ok(py.detach(|| self.0.spin(sequence, Duration::from_micros(microseconds)))?)
    }

    #[pyo3(signature = (code, samples, *, eventfd=None, cpu=None))]
    fn measure<'py>(
        &self,
        py: Python<'py>,
        code: u64,
        samples: usize,
        eventfd: Option<i32>,
        cpu: Option<usize>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let latency = py.detach(|| latency::measure(&self.0, code, samples, eventfd, cpu))?;
        latency_dict(py, &latency)
    }

    fn ring(&self) {
        self.0.ring();
    }
}

/// The round trip of one word between two CPUs: (client's, engine's).
#[pyfunction]
pub fn line_round_trip(py: Python<'_>, samples: usize, cpus: (usize, usize)) -> PyResult<Bound<'_, PyDict>> {
    let latency = py.detach(|| latency::line_round_trip(samples, [cpus.0, cpus.1]))?;
    latency_dict(py, &latency)
}

fn latency_dict<'py>(py: Python<'py>, latency: &latency::Latency) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("samples", latency.samples)?;
    out.set_item("min_ns", latency.least)?;
    out.set_item("p50_ns", latency.p50)?;
    out.set_item("p90_ns", latency.p90)?;
    out.set_item("p99_ns", latency.p99)?;
    out.set_item("p999_ns", latency.p999)?;
    out.set_item("max_ns", latency.most)?;
    out.set_item("mean_ns", latency.mean)?;
    Ok(out)
}
