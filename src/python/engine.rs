//! `Engine`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::memory::{AddressSpace, FirmwareRing, Interrupts};
use crate::array::TileReport;
use crate::cert::UcStatistics;
use crate::cert::fabric::RegisterFault;
use crate::engine::{self, Cost, Failure, Pace, Placement, State};
use crate::error::Error;
use crate::firmware_ring::EventSink;

/// Words that one call reads or writes: 4 MiB.
const ARRAY_ACCESS_MAX: usize = 1 << 20;

/// `fauxdna._core.Engine`.
#[pyclass(frozen, module = "fauxdna._core")]
pub struct Engine(
    engine::Engine,
    /// Whether write_index of padded queues is mirrored for Linux 7.2.
    bool,
);

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (columns=3, *, pace="fast", cpu=None, mirror=true))]
    fn new(py: Python<'_>, columns: u32, pace: &str, cpu: Option<usize>, mirror: bool) -> PyResult<Self> {
        let pace = match pace {
            "fast" => Pace::Fast,
            "real" => Pace::Real,
            other => return Err(PyValueError::new_err(format!("pace {other:?}: it is 'fast' or 'real'"))),
        };
        Ok(Self(py.detach(|| engine::Engine::new(columns, pace, cpu))?, mirror))
    }

    #[getter]
    fn kick_fd(&self) -> i32 {
        self.0.kick_fd()
    }

    #[pyo3(signature = (space, *, queue_address, column, columns, doorbell_fd, doorbell_offset, interrupts, vector, priority=0,
                        owner=0))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of a Python method")]
    fn create_context(
        &self,
        py: Python<'_>,
        space: &AddressSpace,
        queue_address: u64,
        column: u32,
        columns: u32,
        doorbell_fd: i32,
        doorbell_offset: u64,
        interrupts: &Interrupts,
        vector: usize,
        priority: i32,
        owner: u64,
    ) -> PyResult<u64> {
        let interrupts = interrupts.0.clone();
        let placement = Placement {
            queue_address,
            column,
            columns,
            interrupts,
            vector,
            priority,
            owner,
            mirror: self.1,
        };
        Ok(py.detach(|| self.0.create_context(&space.0, placement, (doorbell_fd, doorbell_offset)))?)
    }

    fn move_doorbell(&self, py: Python<'_>, context: u64, fd: i32, offset: u64) -> PyResult<()> {
        Ok(py.detach(|| self.0.move_doorbell(context, (fd, offset)))?)
    }

    fn destroy_context(&self, py: Python<'_>, context: u64) -> PyResult<()> {
        Ok(py.detach(|| self.0.destroy_context(context))?)
    }

    fn context_state<'py>(&self, py: Python<'py>, context: u64) -> PyResult<Bound<'py, PyDict>> {
        let summary = py.detach(|| self.0.summary(context))?;
        let name = match summary.state {
            State::Idle => "idle",
            State::Running => "running",
            State::Error => "error",
            State::Exited => "exited",
        };
        let out = cost_dict(py, &summary.cost)?;
        out.set_item("state", name)?;
        out.set_item("read_index", summary.read_index)?;
        out.set_item("completed", summary.completed)?;
        out.set_item("errors", summary.errors)?;
        out.set_item("message", summary.message)?;
        out.set_item("column", summary.placement.column)?;
        out.set_item("columns", summary.placement.columns)?;
        out.set_item("priority", summary.placement.priority)?;
        out.set_item("owner", summary.placement.owner)?;
        out.set_item("waiting", summary.waiting)?;
        out.set_item("preemptions", summary.preemptions)?;
        let failure = summary.failure.map(|failure| failure_dict(py, &failure));
        out.set_item("failure", failure.transpose()?)?;
        Ok(out)
    }

    #[pyo3(signature = (context, buffers, always=false))]
    fn set_uc_log(&self, py: Python<'_>, context: u64, buffers: Vec<(u64, u32)>, always: bool) -> PyResult<()> {
        Ok(py.detach(|| self.0.order(context, move |context| context.set_log(&buffers, always)))?)
    }

    fn set_uc_debug(&self, py: Python<'_>, context: u64, buffers: Vec<(u64, u32)>) -> PyResult<()> {
        Ok(py.detach(|| self.0.with(context, |context| context.set_debug(buffers)))?)
    }

    fn set_force_preempt(&self, py: Python<'_>, context: u64, forced: bool) -> PyResult<()> {
        Ok(py.detach(|| self.0.order(context, move |context| context.set_force_preempt(forced)))?)
    }

    fn set_failing(&self, py: Python<'_>, context: u64, every: u64, reason: u32) -> PyResult<()> {
        Ok(py.detach(|| self.0.order(context, move |context| context.set_failing(every, reason)))?)
    }

    fn set_events(&self, py: Python<'_>, context: u64, sinks: Vec<(PyRef<'_, FirmwareRing>, u64, u32)>) -> PyResult<()> {
        let sink = |(ring, categories, context): &(PyRef<'_, FirmwareRing>, u64, u32)| EventSink {
            ring: ring.0.clone(),
            categories: *categories,
            context: *context,
        };
        let events: Vec<EventSink> = sinks.iter().map(sink).collect();
        Ok(py.detach(|| self.0.order(context, move |context| context.set_events(events)))?)
    }

    fn read_array<'py>(&self, py: Python<'py>, context: u64, address: u32, words: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut read = vec![0; words.min(ARRAY_ACCESS_MAX)];
        let bytes = py.detach(|| {
            let outcome = self.0.with(context, |context| context.peek(address, &mut read))?;
            outcome.map_err(|fault| register_error(&fault))?;
            Ok::<_, Error>(read.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn write_array(&self, py: Python<'_>, context: u64, address: u32, data: &[u8]) -> PyResult<()> {
        let words: Vec<u32> = data
            .as_chunks::<4>()
            .0
            .iter()
            .take(ARRAY_ACCESS_MAX)
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect();
        Ok(py.detach(|| {
            let outcome = self.0.with(context, |context| context.poke(address, &words))?;
            outcome.map_err(|fault| register_error(&fault))
        })?)
    }

    fn report<'py>(&self, py: Python<'py>, context: u64) -> PyResult<Bound<'py, PyDict>> {
        let (report, ucs, (total, last)) = py.detach(|| {
            self.0.with(context, |context| {
                (context.machine().fabric().report(), context.statistics(), context.cost())
            })
        })?;
        let out = cost_dict(py, &total)?;
        out.set_item("last", cost_dict(py, &last)?)?;
        let ucs = ucs
            .iter()
            .enumerate()
            .map(|(index, uc)| uc_dict(py, index, uc))
            .collect::<PyResult<Vec<_>>>()?;
        out.set_item("ucs", ucs)?;
        out.set_item("events", report.events)?;
        let tiles = report
            .tiles
            .iter()
            .map(|tile| tile_dict(py, tile))
            .collect::<PyResult<Vec<_>>>()?;
        out.set_item("tiles", tiles)?;
        Ok(out)
    }

    fn packet_cost<'py>(&self, py: Python<'py>, context: u64, sequence: u64) -> PyResult<Option<Bound<'py, PyDict>>> {
        let cost = py.detach(|| self.0.with(context, |context| context.packet_cost(sequence)))?;
        cost.map(|cost| cost_dict(py, &cost)).transpose()
    }

    fn set_trace(&self, py: Python<'_>, context: u64, enabled: bool) -> PyResult<()> {
        Ok(py.detach(|| self.0.order(context, move |context| context.set_trace(enabled)))?)
    }

    fn take_trace(&self, py: Python<'_>, context: u64) -> PyResult<Vec<(u64, &'static str, String)>> {
        let events = py.detach(|| self.0.with(context, |context| context.take_trace()))?;
        Ok(events.into_iter().map(|event| (event.time, event.kind, event.text)).collect())
    }

    fn kick(&self) {
        self.0.kick();
    }

    fn set_clock(&self, hclk_mhz: u32) -> PyResult<()> {
        Ok(self.0.set_clock(hclk_mhz)?)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

fn register_error(fault: &RegisterFault) -> Error {
    Error::new(
        libc::EINVAL,
        format!("array address {:#010x}: {}", fault.address, fault.reason),
    )
}

fn failure_dict<'py>(py: Python<'py>, failure: &Failure) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("word", failure.word)?;
    out.set_item("uc", failure.uc)?;
    out.set_item("page", failure.page)?;
    out.set_item("offset", failure.offset)?;
    out.set_item("opcode", failure.opcode)?;
    out.set_item("time_us", failure.time)?;
    Ok(out)
}

fn cost_dict<'py>(py: Python<'py>, cost: &Cost) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("cycles", cost.cycles)?;
    out.set_item("simulated_ns", cost.picoseconds / 1000)?;
    out.set_item("energy_pj", cost.totals.energy)?;
    out.set_item("bytes", cost.totals.bytes)?;
    out.set_item("macs", cost.totals.macs)?;
    Ok(out)
}

fn uc_dict<'py>(py: Python<'py>, index: usize, uc: &UcStatistics) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("uc", index)?;
    out.set_item("instructions", uc.instructions)?;
    out.set_item("pages", uc.pages)?;
    out.set_item("dma_bytes", uc.dma_bytes)?;
    out.set_item("preemptions", uc.preemptions)?;
    Ok(out)
}

fn tile_dict<'py>(py: Python<'py>, tile: &TileReport) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("column", tile.tile >> 5)?;
    out.set_item("row", tile.tile & 31)?;
    out.set_item("kind", format!("{:?}", tile.kind).to_lowercase())?;
    let mut channels = Vec::new();
    for channel in &tile.channels {
        let entry = PyDict::new(py);
        entry.set_item("name", format!("{}{}", channel.direction.name(), channel.number))?;
        entry.set_item("busy_cycles", channel.busy)?;
        entry.set_item("bytes", channel.bytes)?;
        entry.set_item("tasks", channel.tasks)?;
        entry.set_item("bds", channel.bds)?;
        entry.set_item("energy_pj", channel.energy)?;
        channels.push(entry);
    }
    out.set_item("channels", channels)?;
    if let Some(core) = &tile.core {
        let entry = PyDict::new(py);
        entry.set_item("busy_cycles", core.busy)?;
        entry.set_item("macs", core.macs)?;
        entry.set_item("elements", core.elements)?;
        entry.set_item("instructions", core.instructions)?;
        entry.set_item("energy_pj", core.energy)?;
        out.set_item("core", entry)?;
    }
    Ok(out)
}
