//! `/proc/TID/status`: whether a waiting thread has a signal to act on.

use std::collections::HashMap;
use std::fs;

/// `ERESTARTSYS`, `linux/errno.h` of the kernel: end the call for a signal, and restart it if the handler asks for that.
pub const RESTART: i32 = 512;
/// Threads of one process that are asked whether they are stopped.
const SIBLINGS: usize = 16;

/// What `/proc/TID/status` says of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `R`, `S`, `D`, `T` (stopped), `t` (traced), `Z`, `X`.
    pub state: u8,
    /// Its process (thread group).
    pub group: libc::pid_t,
    /// Who traces it, or 0.
    pub tracer: libc::pid_t,
    /// Threads of the process.
    pub threads: u32,
    /// Signals sent to the thread, bit N-1 for signal N.
    pub private: u64,
    /// Signals sent to the process.
    pub shared: u64,
    /// Signals that the thread blocks.
    pub blocked: u64,
    /// Signals that the process ignores.
    pub ignored: u64,
}

impl Status {
    /// Of thread `tid`; `None` if it is gone.
    pub fn read(tid: libc::pid_t) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{tid}/status")).ok()?)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut status = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let value = std::str::from_utf8(&line[colon + 1..]).unwrap_or("").trim();
            let mask = || u64::from_str_radix(value, 16).ok();
            match &line[..colon] {
                b"State" => status.state = *value.as_bytes().first()?,
                b"Tgid" => status.group = value.parse().ok()?,
                b"TracerPid" => status.tracer = value.parse().ok()?,
                b"Threads" => status.threads = value.parse().ok()?,
                b"SigPnd" => status.private = mask()?,
                b"ShdPnd" => status.shared = mask()?,
                b"SigBlk" => status.blocked = mask()?,
                b"SigIgn" => status.ignored = mask()?,
                _ => {}
            }
        }
        (status.group != 0).then_some(status)
    }

    /// Signals of `pending` that this thread would act on. A tracer is told of ignored ones too.
    fn acts_on(&self, pending: u64) -> u64 {
        pending & !self.blocked & if self.tracer == 0 { !self.ignored } else { u64::MAX }
    }
}

/// What earlier looks at a waiting thread found.
#[derive(Clone, Copy, Debug, Default)]
pub struct History {
    tracer: Option<libc::pid_t>,
    attached: bool,
    offered: bool,
}

/// Whether a process has a stopped thread; one pass over many waiting threads asks once per process.
#[derive(Debug, Default)]
pub struct Stopped(HashMap<libc::pid_t, bool>);

impl Stopped {
    fn any(&mut self, process: libc::pid_t) -> bool {
        *self.0.entry(process).or_insert_with(|| {
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
                return false;
            };
            tasks.take(SIBLINGS).flatten().any(|task| {
                let stat = fs::read(task.path().join("stat")).unwrap_or_default();
                // The name before the state may hold anything, a parenthesis too.
                let end = stat.iter().rposition(|&byte| byte == b')');
                end.and_then(|end| stat.get(end + 2)) == Some(&b'T')
            })
        })
    }
}

/// The errno that ends a wait of thread `tid` for a signal, a stop or a debugger; `None` if nothing asks for it.
///
/// Linux restarts a call that ends with ERESTARTSYS only if it had marked the thread for signals, and shows the program errno 512
/// otherwise. A private signal marks its thread, a shared one the group leader if that does not block it, else one thread of those
/// that don't, which can't be seen from outside: then EINTR, which is always sound. A stop marks all threads of the process.
pub fn interruption(tid: libc::pid_t, history: &mut History, stopped: &mut Stopped) -> Option<i32> {
    let status = Status::read(tid)?;
    let leader = match tid == status.group {
        true => status,
        false => Status::read(status.group).unwrap_or_default(),
    };
    decide(tid, status, leader, history, || stopped.any(status.group))
}

fn decide(
    tid: libc::pid_t,
    status: Status,
    leader: Status,
    history: &mut History,
    stopped: impl FnOnce() -> bool,
) -> Option<i32> {
    if status.acts_on(status.private) != 0 {
        return Some(RESTART);
    }
    let shared = status.acts_on(status.shared);
    if shared != 0 && (tid == status.group || status.threads == 1) {
        return Some(RESTART);
    }
    // A debugger that seizes a thread interrupts it next, which marks it; that is given one more look's time.
    let before = *history.tracer.get_or_insert(status.tracer);
    if status.tracer != 0 && status.tracer != before {
        if history.attached {
            return Some(RESTART);
        }
        history.attached = true;
    }
    if status.threads > 1 {
        if stopped() {
            return Some(RESTART);
        }
        let dead = matches!(leader.state, 0 | b'Z' | b'X');
        let elsewhere = shared & if dead { u64::MAX } else { leader.blocked };
        if elsewhere != 0 && history.offered {
            return Some(libc::EINTR);
        }
        history.offered = elsewhere != 0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: u64 = 1 << (libc::SIGINT - 1);

    fn thread(tid: libc::pid_t) -> Status {
        Status {
            state: b'D',
            group: 10,
            threads: if tid == 10 { 1 } else { 4 },
            ..Status::default()
        }
    }

    fn errno(tid: libc::pid_t, status: Status, leader: Status, history: &mut History) -> Option<i32> {
        decide(tid, status, leader, history, || false)
    }

    #[test]
    fn status_lines_are_read() {
        let text = b"Name:\tSigPnd:)\nState:\tD (disk sleep)\nTgid:\t77\nPid:\t78\nTracerPid:\t3\nThreads:\t2\nGroups:\t\n\
            SigQ:\t0/1\nSigPnd:\t0000000000000002\nShdPnd:\t0000000000000004\nSigBlk:\t0000000000010000\n\
            SigIgn:\t0000000000001000\nSigCgt:\tffffffffffffffff\n";
        let expected = Status {
            state: b'D',
            group: 77,
            tracer: 3,
            threads: 2,
            private: 2,
            shared: 4,
            blocked: 0x10000,
            ignored: 0x1000,
        };
        assert_eq!(Status::parse(text), Some(expected));
        assert_eq!(Status::parse(b""), None);
    }

    #[test]
    fn our_own_status_is_read() {
        // SAFETY: both calls take nothing and can't fail.
        let (tid, pid) = unsafe { (libc::gettid(), libc::getpid()) };
        let status = Status::read(tid).unwrap();
        assert_eq!((status.group, status.state), (pid, b'R'));
    }

    #[test]
    fn blocked_and_ignored_signals_do_not_interrupt() {
        for (blocked, ignored, tracer, expected) in [
            (0, 0, 0, Some(RESTART)),
            (INT, 0, 0, None),
            (0, INT, 0, None),
            // A tracer of old standing is told of ignored signals.
            (0, INT, 5, Some(RESTART)),
        ] {
            for pending in [(INT, 0), (0, INT)] {
                let status = Status {
                    private: pending.0,
                    shared: pending.1,
                    blocked,
                    ignored,
                    tracer,
                    ..thread(10)
                };
                assert_eq!(errno(10, status, status, &mut History::default()), expected);
            }
        }
    }

    #[test]
    fn a_shared_signal_is_the_leaders_if_it_does_not_block_it() {
        let status = Status {
            shared: INT,
            ..thread(11)
        };
        let mut history = History::default();
        for _ in 0..3 {
            assert_eq!(errno(11, status, thread(11), &mut history), None);
        }
        for leader in [
            Status {
                blocked: INT,
                ..thread(11)
            },
            Status {
                state: b'Z',
                ..thread(11)
            },
        ] {
            let mut history = History::default();
            assert_eq!(errno(11, status, leader, &mut history), None);
            assert_eq!(errno(11, status, leader, &mut history), Some(libc::EINTR));
        }
    }

    #[test]
    fn a_stopped_sibling_and_a_new_tracer_interrupt() {
        let status = thread(11);
        assert_eq!(decide(11, status, status, &mut History::default(), || true), Some(RESTART));
        let traced = Status { tracer: 9, ..status };
        let mut history = History::default();
        assert_eq!(errno(11, status, status, &mut history), None);
        assert_eq!(errno(11, traced, status, &mut history), None);
        assert_eq!(errno(11, traced, status, &mut history), Some(RESTART));
        let mut old = History::default();
        for _ in 0..3 {
            assert_eq!(errno(11, traced, status, &mut old), None);
        }
    }
}
