//! The thread behind [`super::Completions`]: polls new waits, arms vectors, sleeps on them.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Finish, Outcome, Shared, Vector, lock};
use crate::error::{Error, Result};

/// A vector stays armed so long after its last wait: arming it takes longer than an interrupt that nobody needs.
const QUIET: Duration = Duration::from_millis(2);
/// While waits are polled for, the eventfds are looked at this often.
const EVENTS_EVERY: Duration = Duration::from_micros(20);
/// Pauses between two rounds of polling; callers get at the list of waits meanwhile.
const PAUSES: u32 = 16;
/// The number of the wake-up among the epoll's events; vectors have others.
const WAKE: u64 = 0;
const EVENTS: usize = 64;

/// A new epoll that watches `wake`.
pub(super) fn epoll(wake: RawFd) -> Result<OwnedFd> {
    // SAFETY: epoll_create1 takes plain values; a result of 0 or more is a new descriptor that nobody else owns.
    let epoll = unsafe {
        let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        if fd < 0 {
            return Err(Error::last_os("creating an epoll"));
        }
        OwnedFd::from_raw_fd(fd)
    };
    watch(&epoll, wake, WAKE)?;
    Ok(epoll)
}

/// Watches `fd` for input, as number `number`.
pub(super) fn watch(epoll: &OwnedFd, fd: RawFd, number: u64) -> Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: number,
    };
    // SAFETY: both descriptors are plain numbers, checked by the kernel; the event is live.
    if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) } != 0 {
        return Err(Error::last_os("watching an eventfd"));
    }
    Ok(())
}

/// Watches `fd` no more.
pub(super) fn unwatch(epoll: &OwnedFd, fd: RawFd) {
    // SAFETY: as above; deleting takes no event. It can't fail for a descriptor that is watched.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
}

/// What a round over the waits found.
#[derive(Default)]
struct Round {
    ended: Vec<(Finish, Outcome)>,
    /// Vectors that must be armed for waits that are not polled any more.
    needed: Vec<Arc<Vector>>,
    /// Some wait is polled for.
    hot: bool,
    /// The nearest deadline.
    next: Option<Instant>,
}

struct Armed {
    vector: Arc<Vector>,
    /// When a wait last needed it.
    needed: Instant,
    /// A wait needs it now.
    wanted: bool,
}

/// Arms and disarms on a thread of its own, in order: that calls into Python and the die, and whoever keeps those busy must not hold
/// up everybody's waits.
pub(super) struct Arming {
    send: mpsc::Sender<(Arc<Vector>, bool)>,
    thread: JoinHandle<()>,
}

impl Arming {
    /// Starts the thread.
    pub fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (send, requests) = mpsc::channel::<(Arc<Vector>, bool)>();
        let run = move || {
            for (vector, armed) in requests {
                {
                    let _arming = lock(&shared.arming);
                    if !vector.gone.load(Ordering::SeqCst) {
                        guarded(|| (vector.arm)(armed));
                    }
                }
                if armed {
                    lock(&shared.armed).push(vector.id);
                    shared.post();
                }
            }
        };
        let thread = std::thread::Builder::new().name("fauxdna-arm".into()).spawn(run)?;
        Ok(Self { send, thread })
    }

    fn set(&self, vector: Arc<Vector>, armed: bool) {
        // The thread ends only after this sender.
        let _ = self.send.send((vector, armed));
    }

    /// Until all that was asked for is done.
    fn finish(self) {
        drop(self.send);
        // A panic of what it calls was caught.
        let _ = self.thread.join();
    }
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    arming: Arming,
    /// Vectors that are armed, or will be, by number.
    armed: HashMap<u64, Armed>,
    /// Vectors whose waits must be looked at: they had an interrupt, or were armed just now.
    due: Vec<u64>,
    events_at: Instant,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, arming: Arming) -> Self {
        Self {
            shared,
            arming,
            armed: HashMap::new(),
            due: Vec::new(),
            events_at: Instant::now(),
        }
    }

    /// Until the whole is closed.
    pub fn run(mut self) {
        while !self.shared.closed.load(Ordering::SeqCst) {
            let posted = self.shared.posted.load(Ordering::SeqCst);
            self.due.append(&mut lock(&self.shared.armed));
            let now = Instant::now();
            let round = self.round(now);
            for (finish, outcome) in round.ended {
                guarded(|| finish(outcome));
            }
            let quiet = self.disarm(now);
            if !round.needed.is_empty() {
                self.arm(round.needed, now);
            } else if round.hot {
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
                if now >= self.events_at {
                    self.take_events(Some(now));
                    self.events_at = now + EVENTS_EVERY;
                }
            } else {
                self.sleep(posted, [round.next, quiet].into_iter().flatten().min());
            }
        }
        for armed in self.armed.into_values() {
            self.arming.set(armed.vector, false);
        }
        self.shared.end(Outcome::Off, |_| true);
        self.arming.finish();
    }

    /// Looks at the waits that may have ended.
    fn round(&mut self, now: Instant) -> Round {
        let mut round = Round::default();
        let due = std::mem::take(&mut self.due);
        self.armed.values_mut().for_each(|armed| armed.wanted = false);
        let mut waits = lock(&self.shared.waits);
        let mut index = 0;
        while let Some(wait) = waits.get_mut(index) {
            let polled = wait.hot.is_some();
            let late = wait.deadline.is_some_and(|deadline| deadline <= now);
            let mut outcome = None;
            if polled || late || due.contains(&wait.vector.id) {
                outcome = wait.outcome().or(late.then_some(Outcome::TimedOut));
            }
            let armed = self.armed.get_mut(&wait.vector.id);
            let known = armed.is_some();
            if let Some(armed) = armed.filter(|_| !polled) {
                armed.needed = now;
                armed.wanted |= outcome.is_none();
            }
            if let Some(outcome) = outcome {
                round.ended.push((waits.swap_remove(index).finish, outcome));
                continue;
            }
            if wait.hot.is_some_and(|until| until <= now) {
                wait.hot = None;
            }
            if wait.hot.is_some() {
                round.hot = true;
            } else if polled && known {
                // Its turn to sleep: the next round says that it needs the vector.
                round.hot = true;
            } else if !known && round.needed.iter().all(|vector| vector.id != wait.vector.id) {
                round.needed.push(wait.vector.clone());
            }
            round.next = [round.next, wait.deadline].into_iter().flatten().min();
            index += 1;
        }
        drop(waits);
        if !round.ended.is_empty() {
            self.shared.ended.notify_all();
        }
        round
    }

    /// Has vectors armed; the waits for them are looked at once more when that is done.
    fn arm(&mut self, vectors: Vec<Arc<Vector>>, now: Instant) {
        for vector in vectors {
            self.arming.set(vector.clone(), true);
            let id = vector.id;
            let armed = Armed {
                vector,
                needed: now,
                wanted: true,
            };
            self.armed.insert(id, armed);
        }
    }

    /// Disarms what nobody has needed for a while; gives the time when the next one's turn comes, if nobody needs it until then.
    fn disarm(&mut self, now: Instant) -> Option<Instant> {
        let mut done = Vec::new();
        self.armed.retain(|_, armed| {
            let keep = !armed.vector.gone.load(Ordering::SeqCst) && (armed.wanted || now < armed.needed + QUIET);
            if !keep {
                done.push(armed.vector.clone());
            }
            keep
        });
        for vector in done {
            self.arming.set(vector, false);
        }
        let unwanted = self.armed.values().filter(|armed| !armed.wanted);
        unwanted.map(|armed| armed.needed + QUIET).min()
    }

    /// Sleeps until an interrupt, until someone posts after `posted`, or until `next`.
    fn sleep(&mut self, posted: u64, next: Option<Instant>) {
        self.shared.asleep.store(true, Ordering::Relaxed);
        // Who posts counts, fences and looks for "asleep".
        fence(Ordering::SeqCst);
        if self.shared.posted.load(Ordering::SeqCst) == posted {
            self.take_events(next);
        }
        self.shared.asleep.store(false, Ordering::Relaxed);
    }

    /// Waits for events until `until` (for ever if `None`) and takes them.
    fn take_events(&mut self, until: Option<Instant>) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            libc::timespec {
                tv_sec: left.as_secs().min(1 << 30) as libc::time_t,
                tv_nsec: libc::c_long::from(left.subsec_nanos()),
            }
        });
        let mut ready = libc::pollfd {
            fd: self.shared.epoll.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one live pollfd and a live or null timespec (epoll_wait itself has only milliseconds); then room for `EVENTS` events.
        let count = unsafe {
            if libc::ppoll(&mut ready, 1, timeout, std::ptr::null()) <= 0 {
                return;
            }
            libc::epoll_wait(self.shared.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as libc::c_int, 0)
        };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let number = event.u64;
            if number == WAKE {
                self.shared.wake.take();
            } else if let Some(vector) = lock(&self.shared.vectors).get(&number) {
                let mut interrupts = 0u64;
                // SAFETY: 8 bytes into a live integer; the eventfd is non-blocking.
                unsafe { libc::read(vector.eventfd.as_raw_fd(), (&raw mut interrupts).cast(), 8) };
                vector.generation.fetch_add(1, Ordering::AcqRel);
                self.due.push(number);
            }
        }
    }
}

/// Calls what others gave us. A panic in it, which would be an error of ours, ends that call and not the thread.
fn guarded(call: impl FnOnce()) {
    // The panic's message was printed; there is nobody else to tell.
    let _ = catch_unwind(AssertUnwindSafe(call));
}
