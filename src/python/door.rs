//! `Door` and `Call`.

use std::os::fd::IntoRawFd;
use std::sync::{Arc, Mutex, Once};

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyCFunction};

use super::completions::Completions;
use crate::door;

/// Linux moves at most this much in one call (`MAX_RW_COUNT`, `linux/fs.h`).
const TRANSFER_MAX: usize = 0x7FFF_F000;

/// `fauxdna._core.Call`.
#[pyclass(frozen, module = "fauxdna._core")]
pub struct Call {
    call: Arc<door::Call>,
    data: PyOnceLock<Py<PyBytes>>,
}

#[pymethods]
impl Call {
    #[getter]
    fn node(&self) -> usize {
        self.call.node()
    }

    #[getter]
    fn client(&self) -> u64 {
        self.call.client()
    }

    #[getter]
    fn request(&self) -> u32 {
        self.call.request
    }

    #[getter]
    fn argument(&self) -> u64 {
        self.call.argument
    }

    #[getter]
    fn pid(&self) -> i32 {
        self.call.pid()
    }

    #[getter]
    fn tid(&self) -> i32 {
        self.call.tid()
    }

    #[getter]
    fn alive(&self) -> bool {
        self.call.alive()
    }

    fn data(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        let data = self
            .data
            .get_or_try_init(py, || self.read(py, self.call.argument, self.call.size()).map(Bound::unbind));
        Ok(data?.clone_ref(py))
    }

    fn read<'py>(&self, py: Python<'py>, address: u64, length: usize) -> PyResult<Bound<'py, PyBytes>> {
        if length > TRANSFER_MAX {
            let problem = format!("{length} bytes: Linux reads at most {TRANSFER_MAX} at once");
            return Err(PyOverflowError::new_err(problem));
        }
        PyBytes::new_with(py, length, |out| Ok(self.call.read(address, out)?))
    }

    fn write(&self, address: u64, data: &[u8]) -> PyResult<()> {
        Ok(self.call.write(address, data)?)
    }

    fn get_fd(&self, fd: i32) -> PyResult<i32> {
        Ok(self.call.get_fd(fd)?.into_raw_fd())
    }

    #[pyo3(signature = (fd, cloexec))]
    fn add_fd(&self, py: Python<'_>, fd: i32, cloexec: bool) -> PyResult<i32> {
        Ok(py.detach(|| self.call.add_fd(fd, cloexec))?)
    }

    fn memory_fd(&self) -> PyResult<i32> {
        Ok(self.call.memory()?.into_raw_fd())
    }

    #[pyo3(signature = (ended=None))]
    fn interruptible(&self, ended: Option<Py<PyAny>>) {
        let ended = ended.map(|ended| {
            let run = move || {
                // `None` when the interpreter ends: nobody waits any more.
                Python::try_attach(|py| {
                    if let Err(error) = ended.call0(py) {
                        error.write_unraisable(py, Some(ended.bind(py)));
                    }
                });
            };
            Box::new(run) as Box<dyn FnOnce() + Send>
        });
        self.call.set_interruptible(ended);
    }

    #[pyo3(signature = (error=0))]
    fn reply(&self, error: i32) -> PyResult<bool> {
        Ok(self.call.answer(error)?)
    }
}

struct PyHandler(Py<PyAny>);

impl PyHandler {
    fn run(&self, body: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>) {
        Python::try_attach(|py| {
            let handler = self.0.bind(py);
            if let Err(error) = body(handler) {
                error.write_unraisable(py, Some(handler));
            }
        });
    }
}

impl door::Handler for PyHandler {
    fn thread(&self, serve: &mut (dyn FnMut() + Send)) {
        // The thread keeps its interpreter state all its life, so that a call only has to take the lock.
        Python::try_attach(|py| py.detach(serve));
    }

    fn call(&self, call: Arc<door::Call>) {
        self.run(|handler| {
            let py = handler.py();
            let call = Call {
                call,
                data: PyOnceLock::new(),
            };
            handler.call_method1(pyo3::intern!(py, "call"), (call,))
        });
    }

    fn closed(&self, client: u64) {
        self.run(|handler| handler.call_method1("closed", (client,)));
    }

    fn ended(&self) {
        self.run(|handler| handler.call_method0("ended"));
    }
}

static DOORS: Mutex<Vec<door::Running>> = Mutex::new(Vec::new());
static AT_EXIT: Once = Once::new();

/// `fauxdna._core.Door`.
#[pyclass(frozen, module = "fauxdna._core")]
pub struct Door(door::Door);

#[pymethods]
impl Door {
    #[new]
    #[pyo3(signature = (listener, files, handler, *, completions=None))]
    fn new(
        py: Python<'_>,
        listener: i32,
        files: Vec<i32>,
        handler: Py<PyAny>,
        completions: Option<&Completions>,
    ) -> PyResult<Self> {
        close_at_exit(py)?;
        let completions = completions.map(|completions| completions.0.clone());
        let door = py.detach(|| door::Door::new(listener, &files, Arc::new(PyHandler(handler)), completions))?;
        let mut doors = DOORS.lock().unwrap_or_else(|broken| broken.into_inner());
        doors.retain(door::Running::is_alive);
        doors.push(door.running());
        Ok(Self(door))
    }

    fn register(&self, client: u64, hwctx: u32, completion: u64) -> PyResult<()> {
        Ok(self.0.register(client, hwctx, completion)?)
    }

    fn forget(&self, client: u64, hwctx: u32) {
        self.0.forget(client, hwctx);
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

/// The threads of a door must not run into an interpreter that is being taken down.
fn close_at_exit(py: Python<'_>) -> PyResult<()> {
    let mut result = Ok(());
    AT_EXIT.call_once(|| {
        result = (|| {
            let close = PyCFunction::new_closure(py, None, None, |arguments, _| {
                let doors = std::mem::take(&mut *DOORS.lock().unwrap_or_else(|broken| broken.into_inner()));
                arguments.py().detach(|| {
                    doors.iter().for_each(door::Running::close);
                });
            })?;
            py.import("atexit")?.call_method1("register", (close,))?;
            Ok(())
        })();
    });
    result
}
