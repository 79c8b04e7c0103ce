//! `Completions`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::completions::{self, Outcome};

/// How often a waiting main thread looks for signals, such as Ctrl-C's.
const SIGNALS: Duration = Duration::from_millis(20);

/// `fauxdna._core.Completions`.
#[pyclass(frozen, module = "fauxdna._core")]
pub struct Completions(pub Arc<completions::Completions>);

#[pymethods]
impl Completions {
    #[new]
    #[pyo3(signature = (*, kick_fd=None))]
    fn new(kick_fd: Option<i32>) -> PyResult<Self> {
        Ok(Self(completions::Completions::new(kick_fd)?))
    }

    fn add_vector(&self, eventfd: i32, arm: Py<PyAny>) -> PyResult<u64> {
        let arm = move |armed: bool| {
            // `None` when the interpreter ends: nobody waits any more.
            Python::try_attach(|py| {
                if let Err(error) = arm.call1(py, (armed,)) {
                    error.write_unraisable(py, Some(arm.bind(py)));
                }
            });
        };
        Ok(self.0.add_vector(eventfd, Box::new(arm))?)
    }

    fn remove_vector(&self, py: Python<'_>, vector: u64) {
        py.detach(|| self.0.remove_vector(vector));
    }

    fn generation(&self, vector: u64) -> PyResult<u64> {
        Ok(self.0.generation(vector)?)
    }

    #[pyo3(signature = (vector, generation, timeout_s=None))]
    fn wait_interrupt(&self, py: Python<'_>, vector: u64, generation: u64, timeout_s: Option<f64>) -> PyResult<bool> {
        let deadline = timeout_s
            .map(|seconds| {
                let timeout = Duration::try_from_secs_f64(seconds.max(0.0));
                timeout.map_err(|error| PyValueError::new_err(format!("timeout of {seconds} s: {error}")))
            })
            .transpose()?
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let outcome = blocking(py, |slice, interrupted| {
            self.0.block_for_interrupt(vector, generation, deadline, slice, interrupted)
        })?;
        ended(outcome, "vector", vector)
    }

    fn add(&self, queue_fd: i32, queue_offset: u64, length: u64, vector: u64) -> PyResult<u64> {
        Ok(self.0.add((queue_fd, queue_offset), length, vector)?)
    }

    fn remove(&self, py: Python<'_>, queue: u64) {
        py.detach(|| self.0.remove(queue));
    }

    fn waited_for(&self, queues: Vec<u64>) -> bool {
        self.0.waited_for(&queues)
    }

    fn drain(&self, py: Python<'_>, queues: Vec<u64>) -> PyResult<()> {
        let drained = |slice, interrupted: Interrupted<'_>| self.0.drain(&queues, slice, interrupted).then_some(Outcome::Done);
        blocking(py, drained).map(|_| ())
    }

    fn indices(&self, queue: u64) -> PyResult<(u64, u64)> {
        Ok(self.0.indices(queue)?)
    }

    #[pyo3(signature = (queue, sequence, timeout_ms=0))]
    fn wait(&self, py: Python<'_>, queue: u64, sequence: u64, timeout_ms: u32) -> PyResult<bool> {
        if self.0.done(queue, sequence)? {
            return Ok(true);
        }
        let deadline = completions::deadline(timeout_ms);
        let outcome = blocking(py, |slice, interrupted| {
            self.0.block(queue, sequence, deadline, slice, interrupted)
        })?;
        ended(outcome, "queue", queue)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

type Interrupted<'a> = &'a mut (dyn FnMut() -> bool + Send);

/// Runs `wait` without the interpreter lock; a Python signal handler that raises ends it.
fn blocking(py: Python<'_>, wait: impl FnOnce(Option<Duration>, Interrupted<'_>) -> Option<Outcome> + Send) -> PyResult<Outcome> {
    // Python runs signal handlers on its main thread only.
    // SAFETY: both calls take nothing and can't fail.
    let main = unsafe { libc::gettid() == libc::getpid() };
    let mut raised = None;
    let outcome = py.detach(|| {
        wait(
            main.then_some(SIGNALS),
            &mut || match Python::attach(|py| py.check_signals()) {
                Ok(()) => false,
                Err(error) => {
                    raised = Some(error);
                    true
                }
            },
        )
    });
    match (outcome, raised) {
        (_, Some(error)) => Err(error),
        (outcome, None) => Ok(outcome.unwrap_or(Outcome::Off)),
    }
}

fn ended(outcome: Outcome, what: &str, id: u64) -> PyResult<bool> {
    match outcome {
        Outcome::Done => Ok(true),
        Outcome::TimedOut => Ok(false),
        Outcome::Gone => Err(PyOSError::new_err((
            libc::EINVAL,
            format!("{what} {id} was removed, or its memory is gone, while someone waited"),
        ))),
        Outcome::Off => Err(PyOSError::new_err((
            libc::ENODEV,
            format!("{what} {id} went with its function while someone waited"),
        ))),
    }
}
