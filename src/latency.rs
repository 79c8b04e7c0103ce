//! How long a packet takes, seen from the client: ring to completion word, or ring to interrupt.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ticks::now;

use crate::abi::host_queue::completion_state;
use crate::client::{HostQueue, Submission};
use crate::engine::pin_thread;
use crate::error::{Error, Result};

/// Between two samples the client is busy elsewhere this long, as a client with one packet in flight would be.
const PAUSE: Duration = Duration::from_micros(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// Percentiles of the samples, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Number of samples.
    pub samples: usize,
    /// The shortest.
    pub least: u64,
    /// Half are no longer.
    pub p50: u64,
    /// 90 % are no longer.
    pub p90: u64,
    /// 99 % are no longer.
    pub p99: u64,
    /// 99.9 % are no longer.
    pub p999: u64,
    /// The longest.
    pub most: u64,
    /// The mean.
    pub mean: f64,
}

/// Runs the code at `code` on uC 0 `samples` times, after a tenth as many that don't count, and waits for each one: by polling its
/// completion word, or by sleeping on `eventfd`, which the queue's vector is delivered to.
pub fn measure(queue: &HostQueue, code: u64, samples: usize, eventfd: Option<RawFd>, cpu: Option<usize>) -> Result<Latency> {
    if samples == 0 {
        return Err(Error::new(libc::EINVAL, "no samples asked for"));
    }
    // A thread of its own, so that the caller's keeps its CPUs.
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            cpu.map_or(Ok(()), pin_thread)?;
            let list = [(0, code)];
            let submission = Submission {
                code: &list,
                ..Submission::default()
            };
            let mut times = Vec::with_capacity(samples);
            let (start, start_ticks) = (Instant::now(), now());
            for count in 0..samples + samples / 10 {
                let begin = now();
                let sequence = queue.submit(&submission)?;
                if let Some(eventfd) = eventfd {
                    wait(eventfd)?;
                }
                let word = queue.spin(sequence, PATIENCE)?;
                let took = now() - begin;
                if word != completion_state::COMPLETED {
                    return Err(Error::new(
                        libc::EIO,
                        format!("packet {sequence} ended with completion word {word:#x}"),
                    ));
                }
                if count >= samples / 10 {
                    times.push(took);
                }
                let rest = Instant::now();
                while rest.elapsed() < PAUSE {
                    std::hint::spin_loop();
                }
            }
            let nanoseconds = start.elapsed().as_nanos() as f64 / (now() - start_ticks) as f64;
            times
                .iter_mut()
                .for_each(|ticks| *ticks = (*ticks as f64 * nanoseconds) as u64);
            Ok(summary(times))
        });
        work.join()
            .unwrap_or_else(|_| Err(Error::new(libc::EIO, "the measuring thread panicked")))
    })
}

/// The floor of all this: how long one word takes to another CPU and an answer back, through two cache lines and no code of ours.
pub fn line_round_trip(samples: usize, cpus: [usize; 2]) -> Result<Latency> {
    /// A word on a pair of cache lines of its own, since processors fetch lines in pairs.
    #[repr(align(128))]
    #[derive(Default)]
    struct Line(AtomicUsize);

    if samples == 0 {
        return Err(Error::new(libc::EINVAL, "no samples asked for"));
    }
    let (there, back, stop) = (Line::default(), Line::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| {
            pin_thread(cpus[1])?;
            let mut seen = 0;
            while !stop.load(Ordering::Relaxed) {
                let count = there.0.load(Ordering::Acquire);
                if count != seen {
                    seen = count;
                    back.0.store(count, Ordering::Release);
                }
            }
            Ok(())
        });
        let ask = scope.spawn(|| {
            let result = pin_thread(cpus[0]).map(|()| {
                let (start, start_ticks) = (Instant::now(), now());
                let mut times = Vec::with_capacity(samples);
                for count in 1..=samples {
                    let begin = now();
                    there.0.store(count, Ordering::Release);
                    while back.0.load(Ordering::Acquire) != count && start.elapsed() < PATIENCE {}
                    times.push(now() - begin);
                }
                in_nanoseconds(times, start, start_ticks)
            });
            stop.store(true, Ordering::Relaxed);
            result
        });
        let broken = |_| Err(Error::new(libc::EIO, "the measuring thread panicked"));
        let result = ask.join().unwrap_or_else(broken);
        answer.join().unwrap_or(Ok(())).and(result)
    })
}

/// A clock that costs less than what it measures: reading the system's takes 45 ns in some virtual machines.
mod ticks {
    /// Ticks of a constant rate.
    #[cfg(target_arch = "x86_64")]
    pub fn now() -> u64 {
        // SAFETY: `rdtscp` reads two registers; every x86-64 processor made since 2006 has it.
        unsafe { core::arch::x86_64::__rdtscp(&mut 0) }
    }

    /// Ticks of a constant rate.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn now() -> u64 {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

fn wait(eventfd: RawFd) -> Result<()> {
    let mut ready = libc::pollfd {
        fd: eventfd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut count = 0u64;
    // SAFETY: one live pollfd; then 8 bytes into a live integer.
    unsafe {
        if libc::poll(&mut ready, 1, PATIENCE.as_millis() as libc::c_int) != 1 {
            return Err(Error::new(libc::ETIMEDOUT, "no interrupt came within 5 s"));
        }
        if libc::read(eventfd, (&raw mut count).cast(), 8) != 8 {
            return Err(Error::last_os("reading the interrupt's eventfd"));
        }
    }
    Ok(())
}

/// The summary of times in ticks, of which `start_ticks` was read at `start`.
fn in_nanoseconds(mut times: Vec<u64>, start: Instant, start_ticks: u64) -> Latency {
    let nanoseconds = start.elapsed().as_nanos() as f64 / (now() - start_ticks).max(1) as f64;
    times
        .iter_mut()
        .for_each(|ticks| *ticks = (*ticks as f64 * nanoseconds) as u64);
    summary(times)
}

fn summary(mut times: Vec<u64>) -> Latency {
    times.sort_unstable();
    let rank = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Latency {
        samples: times.len(),
        least: rank(0.0),
        p50: rank(0.5),
        p90: rank(0.9),
        p99: rank(0.99),
        p999: rank(0.999),
        most: rank(1.0),
        mean: times.iter().sum::<u64>() as f64 / times.len() as f64,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn percentiles_of_known_samples() {
        let latency = super::summary((1..=1001).rev().collect());
        assert_eq!(
            (
                latency.least,
                latency.p50,
                latency.p90,
                latency.p99,
                latency.p999,
                latency.most
            ),
            (1, 501, 901, 991, 1000, 1001)
        );
        assert_eq!((latency.samples, latency.mean), (1001, 501.0));
    }
}
