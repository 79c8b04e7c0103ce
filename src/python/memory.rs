//! `AddressSpace` and `Interrupts`.

use std::sync::Arc;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::abi::firmware_ring::FOOTER_SIZE;
use crate::firmware_ring::{self, ARGUMENTS_MAX};
use crate::interrupts;
use crate::memory::{self, HostMemory, MemoryFault};

impl From<crate::error::Error> for PyErr {
    fn from(error: crate::error::Error) -> Self {
        PyOSError::new_err((error.errno, error.message))
    }
}

fn fault(fault: MemoryFault) -> PyErr {
    PyOSError::new_err((libc::EFAULT, fault.to_string()))
}

#[pyclass(frozen, module = "fauxdna._core")]
/// `fauxdna._core.AddressSpace`.
pub struct AddressSpace(pub Arc<memory::AddressSpace>);

#[pymethods]
impl AddressSpace {
    #[new]
    #[pyo3(signature = (*, shared = false))]
    fn new(shared: bool) -> Self {
        let limits = if shared { memory::Limits::SHARED } else { memory::Limits::OWN };
        Self(Arc::new(memory::AddressSpace::new(limits)))
    }

    fn reserve(&self, py: Python<'_>, address: u64, length: u64) -> PyResult<()> {
        Ok(py.detach(|| self.0.reserve(address, length))?)
    }

    fn counts(&self, py: Python<'_>) -> (usize, usize) {
        py.detach(|| self.0.counts())
    }

    fn map(&self, py: Python<'_>, address: u64, fd: i32, offset: u64, length: u64, prot: u32) -> PyResult<()> {
        Ok(py.detach(|| self.0.map(address, fd, offset, length, prot))?)
    }

    fn unmap(&self, py: Python<'_>, address: u64, length: u64) -> PyResult<u64> {
        Ok(py.detach(|| self.0.unmap(address, length))?)
    }

    fn read<'py>(&self, py: Python<'py>, address: u64, length: usize) -> PyResult<Bound<'py, PyBytes>> {
        // Before memory is allocated: a huge length must fail as unmapped.
        self.0.check(address, length, memory::PROT_READ).map_err(fault)?;
        PyBytes::new_with(py, length, |out| self.0.read(address, out).map_err(fault))
    }

    fn write(&self, address: u64, data: &[u8]) -> PyResult<()> {
        self.0.write(address, data).map_err(fault)
    }

    fn mappings(&self) -> Vec<(u64, u64, u32)> {
        self.0
            .mappings()
            .iter()
            .map(|mapping| (mapping.address, mapping.length, mapping.prot))
            .collect()
    }
}

#[pyclass(frozen, module = "fauxdna._core")]
/// `fauxdna._core.FirmwareRing`.
pub struct FirmwareRing(pub Arc<firmware_ring::FirmwareRing>);

#[pymethods]
impl FirmwareRing {
    #[new]
    fn new(space: &AddressSpace, address: u64, size: u64, kind: u8, payload_version: u32) -> PyResult<Self> {
        if size <= u64::from(FOOTER_SIZE) || address.checked_add(size).is_none() {
            let problem = format!("a ring of {size} bytes at {address:#x}: its footer takes {FOOTER_SIZE}");
            return Err(PyOSError::new_err((libc::EINVAL, problem)));
        }
        let ring = firmware_ring::FirmwareRing::new(&space.0, address, size, kind, payload_version);
        Ok(Self(Arc::new(ring)))
    }

    fn append(&self, py: Python<'_>, data: &[u8]) {
        py.detach(|| self.0.append(data));
    }

    fn event(&self, py: Python<'_>, number: u32, arguments: Vec<u32>) -> PyResult<()> {
        if arguments.len() > ARGUMENTS_MAX {
            let problem = format!("an event with {} arguments: it has at most {ARGUMENTS_MAX}", arguments.len());
            return Err(PyOSError::new_err((libc::EINVAL, problem)));
        }
        py.detach(|| self.0.event(number, &arguments));
        Ok(())
    }
}

#[pyclass(frozen, module = "fauxdna._core")]
/// `fauxdna._core.Interrupts`.
pub struct Interrupts(pub Arc<interrupts::Interrupts>);

#[pymethods]
impl Interrupts {
    #[new]
    fn new(vectors: usize) -> PyResult<Self> {
        Ok(Self(Arc::new(interrupts::Interrupts::new(vectors)?)))
    }

    fn set(&self, vector: usize, fd: Option<i32>) -> PyResult<()> {
        Ok(self.0.set(vector, fd)?)
    }

    fn mask(&self, vector: usize, masked: bool) -> PyResult<()> {
        Ok(self.0.mask(vector, masked)?)
    }

    fn trigger(&self, vector: usize) -> PyResult<()> {
        Ok(self.0.trigger(vector)?)
    }

    fn lose(&self, vector: usize, every: u64) -> PyResult<()> {
        Ok(self.0.lose(vector, every)?)
    }

    fn clear(&self, vector: usize) -> PyResult<()> {
        Ok(self.0.clear(vector)?)
    }

    fn pending(&self, vector: usize) -> PyResult<bool> {
        Ok(self.0.pending(vector)?)
    }
}
