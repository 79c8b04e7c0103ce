//! Waits against their own ends: each ends once, whoever is first, and no interrupt is lost on the way.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::*;
use crate::abi::host_queue::header_unpadded;

/// What a wait that was lost would be told by.
const PATIENCE: Duration = Duration::from_secs(120);

/// An MSI-X vector as the device has it: what comes while it is masked stays pending, and is delivered when that ends.
#[derive(Default)]
struct Msix {
    /// (masked, pending)
    state: Mutex<(bool, bool)>,
}

fn eventfd() -> File {
    // SAFETY: plain values; the result is checked, and owned by nobody else.
    unsafe {
        let eventfd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        assert!(eventfd >= 0);
        File::from_raw_fd(eventfd)
    }
}

/// A host queue that the test plays, and its vector.
struct Rig {
    completions: Arc<Completions>,
    memory: File,
    eventfd: Arc<File>,
    msix: Arc<Msix>,
    vector: u64,
    queue: u64,
}

impl Rig {
    fn new() -> Self {
        // SAFETY: a plain value and a C string literal; the result is checked, and owned by nobody else.
        let memory = unsafe {
            let memory = libc::memfd_create(c"queue".as_ptr(), libc::MFD_CLOEXEC);
            assert!(memory >= 0);
            File::from_raw_fd(memory)
        };
        let eventfd = Arc::new(eventfd());
        memory.set_len(4096).unwrap();
        let msix = Arc::new(Msix::default());
        msix.state.lock().unwrap().0 = true;
        let completions = Completions::new(None).unwrap();
        let (masks, signals) = (msix.clone(), eventfd.clone());
        let arm = move |armed: bool| {
            let mut state = masks.state.lock().unwrap();
            state.0 = !armed;
            if armed && std::mem::take(&mut state.1) {
                EventFd::signal_fd(signals.as_raw_fd());
            }
        };
        let vector = completions.add_vector(eventfd.as_raw_fd(), Box::new(arm)).unwrap();
        let mut rig = Self {
            completions,
            memory,
            eventfd,
            msix,
            vector,
            queue: 0,
        };
        rig.queue = rig.add();
        rig
    }

    fn add(&self) -> u64 {
        self.completions.add((self.memory.as_raw_fd(), 0), 4096, self.vector).unwrap()
    }

    /// Commands up to `read` are done, up to `write` submitted.
    fn indices(&self, read: u64, write: u64) {
        self.memory
            .write_at(&write.to_le_bytes(), header_unpadded::WRITE_INDEX as u64)
            .unwrap();
        self.memory
            .write_at(&read.to_le_bytes(), header_unpadded::READ_INDEX as u64)
            .unwrap();
    }

    fn interrupt(&self) {
        let mut state = self.msix.state.lock().unwrap();
        if state.0 {
            state.1 = true;
        } else {
            EventFd::signal_fd(self.eventfd.as_raw_fd());
        }
    }

    fn wait(&self, queue: u64, sequence: u64) -> (u64, mpsc::Receiver<Outcome>) {
        let (send, receive) = mpsc::channel();
        let finish = Box::new(move |outcome| send.send(outcome).unwrap());
        (self.completions.wait(queue, sequence, None, finish), receive)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.completions.close();
    }
}

/// Yields that look random and are the same in every run, so that races meet at many places.
fn jitter(seed: usize) {
    let steps = (seed.wrapping_mul(0x9E37_79B9) >> 7) % 200;
    (0..steps).for_each(|_| std::hint::spin_loop());
    if seed.is_multiple_of(5) {
        std::thread::yield_now();
    }
}

#[test]
fn a_wait_ends_once_whoever_ends_it() {
    let rig = Rig::new();
    let mut seen = [0usize; 3];
    for round in 0..1000 {
        rig.indices(0, 1);
        let queue = rig.add();
        let (ticket, end) = rig.wait(queue, 0);
        assert_ne!(ticket, 0);
        let start = Barrier::new(3);
        let cancelled = std::thread::scope(|scope| {
            let completing = scope.spawn(|| {
                start.wait();
                jitter(round);
                rig.indices(1, 1);
                rig.interrupt();
            });
            let removing = scope.spawn(|| {
                start.wait();
                jitter(3 * round);
                rig.completions.remove(queue);
            });
            start.wait();
            jitter(7 * round);
            let cancelled = rig.completions.cancel(ticket);
            completing.join().unwrap();
            removing.join().unwrap();
            cancelled
        });
        // A wait that was taken back drops its end; one that ended tells it. The end can be called once only, by its type.
        match end.recv_timeout(PATIENCE) {
            Ok(outcome) => {
                assert!(!cancelled, "{outcome:?} after it was taken back");
                assert!(matches!(outcome, Outcome::Done | Outcome::Gone), "{outcome:?}");
                seen[usize::from(outcome == Outcome::Gone)] += 1;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                assert!(cancelled, "neither ended nor taken back");
                seen[2] += 1;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the wait was lost"),
        }
        assert!(!rig.completions.cancel(ticket), "it is over");
        assert!(!rig.completions.waited_for(&[queue]));
    }
    assert_eq!(seen.iter().sum::<usize>(), 1000);
}

#[test]
fn removing_ends_what_waits() {
    let rig = Rig::new();
    rig.indices(0, 32);
    let other = rig.add();
    let ends: Vec<_> = (0..32).map(|sequence| rig.wait(rig.queue, sequence).1).collect();
    let (_, untouched) = rig.wait(other, 0);
    rig.completions.remove(rig.queue);
    // They have ended when this returns, on the thread that removed.
    for end in ends {
        assert_eq!(end.try_recv(), Ok(Outcome::Gone));
    }
    let (ticket, end) = rig.wait(rig.queue, 0);
    assert_eq!((ticket, end.try_recv()), (0, Ok(Outcome::Gone)), "whoever comes later");
    assert_eq!(untouched.try_recv(), Err(mpsc::TryRecvError::Empty));
    rig.completions.remove_vector(rig.vector);
    assert_eq!(untouched.try_recv(), Ok(Outcome::Off));
    assert_eq!(
        rig.completions.block_for_interrupt(rig.vector, 0, None, None, || false),
        Some(Outcome::Off)
    );
}

/// Closing leaves no wait behind, also none that comes while it closes.
#[test]
fn closing_ends_waits_that_begin_meanwhile() {
    for round in 0..200 {
        let rig = Rig::new();
        rig.indices(0, 1);
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                start.wait();
                (0..20).map(|_| rig.wait(rig.queue, 0).1).collect::<Vec<_>>()
            });
            start.wait();
            jitter(round);
            rig.completions.close();
            for end in waiting.join().unwrap() {
                assert_eq!(end.recv_timeout(PATIENCE), Ok(Outcome::Off));
            }
        });
    }
}

/// The caller looks, polls and only then hands the wait over; the interrupt comes at any moment between, masked or not.
#[test]
fn no_interrupt_is_lost_on_the_way_to_sleep() {
    let rig = Rig::new();
    let (go, rounds) = mpsc::channel::<u64>();
    std::thread::scope(|scope| {
        let device = scope.spawn(|| {
            for round in rounds {
                // From before the caller's first look to after its poll of 60 us: some rounds sleep, most do not.
                for _ in 0..round % 32 {
                    jitter(round as usize);
                }
                rig.indices(round + 1, round + 1);
                rig.interrupt();
            }
        });
        for round in 0..5000 {
            rig.indices(round, round + 1);
            go.send(round).unwrap();
            let outcome = rig
                .completions
                .block(rig.queue, round, Some(Instant::now() + PATIENCE), None, || false);
            assert_eq!(outcome, Some(Outcome::Done));
        }
        drop(go);
        device.join().unwrap();
    });
}

/// An interrupt that comes between the look at its number and the wait for the next one ends that wait.
#[test]
fn no_interrupt_is_lost_between_number_and_wait() {
    let rig = Rig::new();
    std::thread::scope(|scope| {
        for round in 0..500 {
            let seen = rig.completions.generation(rig.vector).unwrap();
            let device = scope.spawn(|| rig.interrupt());
            jitter(round);
            let deadline = Some(Instant::now() + PATIENCE);
            let outcome = rig
                .completions
                .block_for_interrupt(rig.vector, seen, deadline, None, || false);
            assert_eq!(outcome, Some(Outcome::Done));
            device.join().unwrap();
        }
    });
}

#[test]
fn a_vector_is_left_alone_once_it_is_removed() {
    let rig = Rig::new();
    rig.indices(0, 1);
    let story = Arc::new(Mutex::new(Vec::new()));
    let (entered, entry) = mpsc::channel();
    let (leave, leaving) = mpsc::channel::<()>();
    let (theirs, leaving) = (story.clone(), Mutex::new(leaving));
    let arm = move |armed| {
        entered.send(()).unwrap();
        leaving.lock().unwrap().recv().unwrap();
        theirs.lock().unwrap().push(if armed { "armed" } else { "disarmed" });
    };
    let eventfd = eventfd();
    let vector = rig.completions.add_vector(eventfd.as_raw_fd(), Box::new(arm)).unwrap();
    let queue = rig.completions.add((rig.memory.as_raw_fd(), 0), 4096, vector).unwrap();
    let (_, end) = rig.wait(queue, 0);
    entry.recv_timeout(PATIENCE).expect("the vector is armed for the wait");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rig.completions.remove_vector(vector);
            story.lock().unwrap().push("removed");
        });
        // From here on nothing but the call that is under way holds the removal up.
        assert_eq!(end.recv_timeout(PATIENCE), Ok(Outcome::Off));
        (0..1000).for_each(|_| std::thread::yield_now());
        leave.send(()).unwrap();
    });
    rig.completions.close();
    assert_eq!(*story.lock().unwrap(), ["armed", "removed"]);
}

#[test]
fn draining_waits_for_what_is_under_way_and_for_nothing_else() {
    let rig = Rig::new();
    rig.indices(0, 1);
    let (early, _early_end) = rig.wait(rig.queue, 0);
    let other = rig.add();
    let (_, _other_end) = rig.wait(other, 0);
    let mut late = None;
    let drained = rig.completions.drain(&[rig.queue], Some(Duration::from_micros(1)), || {
        // Asked while it waits: one more wait begins, and the one that it waits for is taken back.
        if late.is_none() {
            late = Some(rig.wait(rig.queue, 0));
            assert!(rig.completions.cancel(early));
        }
        false
    });
    assert!(drained && late.is_some());
    assert!(rig.completions.waited_for(&[rig.queue]), "the later one");
    assert!(
        !rig.completions.drain(&[rig.queue], Some(Duration::from_micros(1)), || true),
        "interrupted"
    );
    assert!(rig.completions.drain(&[], None, || false));
}

/// Waits of others that end without a pause must not keep a drain from looking for signals.
#[test]
fn draining_can_be_interrupted_while_others_come_and_go() {
    let rig = Rig::new();
    rig.indices(0, 1);
    let (_, _end) = rig.wait(rig.queue, 0);
    let other = rig.add();
    let over = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while over.load(Ordering::SeqCst) == 0 {
                let (ticket, _end) = rig.wait(other, 0);
                assert!(rig.completions.cancel(ticket));
            }
        });
        assert!(!rig.completions.drain(&[rig.queue], Some(Duration::from_millis(2)), || true));
        over.store(1, Ordering::SeqCst);
    });
}

#[test]
fn a_panicking_end_ends_itself_alone() {
    let rig = Rig::new();
    rig.indices(0, 1);
    let ticket = rig.completions.wait(rig.queue, 0, None, Box::new(|_| panic!("as if")));
    assert_ne!(ticket, 0);
    let (_, end) = rig.wait(rig.queue, 0);
    rig.indices(1, 1);
    rig.interrupt();
    assert_eq!(end.recv_timeout(PATIENCE), Ok(Outcome::Done));
}

#[test]
fn a_deadline_that_has_passed_still_looks() {
    let rig = Rig::new();
    let past = Some(Instant::now());
    rig.indices(0, 1);
    assert_eq!(
        rig.completions.block(rig.queue, 0, past, None, || false),
        Some(Outcome::TimedOut)
    );
    rig.indices(1, 1);
    assert_eq!(rig.completions.block(rig.queue, 0, past, None, || false), Some(Outcome::Done));
    assert_eq!(
        rig.completions.block(rig.queue, u64::MAX, past, None, || false),
        Some(Outcome::TimedOut)
    );
}
