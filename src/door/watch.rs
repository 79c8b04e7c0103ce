//! The watch thread: closed clients, dead and interrupted callers, slow handlers, the door's end.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::status::{Stopped, interruption};
use super::{Handler, Shared, lock, receive, signal};

/// When a waiting call's caller is looked at first; the pause then doubles up to [`LAST_PAUSE`].
pub const FIRST_LOOK: Duration = Duration::from_millis(2);
/// Longest that a signal to a waiting caller goes unnoticed, if this thread gets to run.
const LAST_PAUSE: Duration = Duration::from_millis(20);
/// Of a thread's time, looking at waiting callers takes at most a twentieth.
const LOOKING_SHARE: u32 = 20;
/// How often it looks while calls come in.
const TICK: Duration = Duration::from_millis(1);
/// For how long after the last call.
const AFTERGLOW: Duration = Duration::from_millis(10);
/// A handler that takes longer lets another receiver take over, microseconds.
const SLOW_US: u64 = 1000;
/// Threads of one door at most.
const THREADS_MAX: usize = 32;
/// The kernel tells of a close just before it drops the lock. These are the pauses until the next look at the locks.
const LOOKS_AFTER_CLOSE: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(250),
    Duration::from_millis(2500),
];
/// Index of the look after which calls rely on the events again.
const SETTLED_AFTER: usize = 2;

/// Runs until the door closes or no process has its filter any more, and puts everything away.
pub fn watch(shared: &Arc<Shared>, handler: &dyn Handler) {
    let ended = Watch::new(shared).run(handler);
    finish(shared, handler, ended);
}

struct Watch<'a> {
    shared: &'a Arc<Shared>,
    activity: u64,
    heard: u64,
    active_until: Instant,
    /// Next look at the locks, and its index in [`LOOKS_AFTER_CLOSE`].
    closes: Option<(Instant, usize)>,
    /// Earliest time of the next look at waiting callers.
    rest_until: Instant,
}

impl<'a> Watch<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            activity: 0,
            heard: 0,
            active_until: now,
            closes: None,
            rest_until: now,
        }
    }

    /// Whether it ended because no process has the filter any more.
    fn run(&mut self, handler: &dyn Handler) -> bool {
        while !self.shared.stopping() {
            let now = Instant::now();
            let activity = self.shared.activity.load(Ordering::SeqCst);
            if activity != self.activity {
                self.activity = activity;
                self.active_until = now + AFTERGLOW;
            }
            self.look_at_closes(handler, now);
            self.look_at_turn();
            let next_call = self.look_at_callers(now);
            if self.sleep(now, next_call) {
                return true;
            }
        }
        false
    }

    fn look_at_closes(&mut self, handler: &dyn Handler, now: Instant) {
        let due = self.closes.is_some_and(|(due, _)| due <= now);
        let heard = self.shared.tell_closed(handler, due);
        if heard != self.heard {
            self.heard = heard;
            self.closes = Some((now + LOOKS_AFTER_CLOSE[0], 0));
        } else if let (true, Some((_, index))) = (due, self.closes) {
            if index == SETTLED_AFTER {
                self.shared.settled.store(heard, Ordering::SeqCst);
            }
            let next = index + 1;
            self.closes = LOOKS_AFTER_CLOSE.get(next).map(|&pause| (now + pause, next));
        }
    }

    fn look_at_turn(&self) {
        let (turn, since) = self.shared.turn.look();
        let slow = since != 0 && self.shared.now().saturating_sub(since) > SLOW_US;
        if slow && lock(&self.shared.threads).running < THREADS_MAX {
            // Without memory for a thread the handler is waited for.
            let _ = receive::take_over(self.shared, turn, since);
        }
    }

    /// Ends the waits of callers that died or have a signal to act on; when to look again.
    fn look_at_callers(&mut self, now: Instant) -> Option<Instant> {
        let mut waiting = lock(&self.shared.waiting);
        let earliest = waiting.values().map(|waiting| waiting.next).min()?;
        if earliest > now || self.rest_until > now {
            return Some(earliest.max(self.rest_until));
        }
        let mut due = Vec::new();
        for (&id, waiting) in waiting.iter_mut().filter(|(_, waiting)| waiting.next <= now) {
            waiting.pause = (waiting.pause * 2).min(LAST_PAUSE);
            waiting.next = now + waiting.pause;
            if let Some(call) = waiting.call.upgrade() {
                due.push((id, call, waiting.history));
            }
        }
        drop(waiting);
        let mut stopped = Stopped::default();
        for (id, call, mut history) in due {
            if !call.alive() {
                call.end(None);
            } else if call.is_interruptible() {
                if let Some(errno) = interruption(call.tid(), &mut history, &mut stopped) {
                    call.end(Some(errno));
                } else if let Some(waiting) = lock(&self.shared.waiting).get_mut(&id) {
                    waiting.history = history;
                }
            }
        }
        self.rest_until = now + now.elapsed() * LOOKING_SHARE;
        let next = lock(&self.shared.waiting).values().map(|waiting| waiting.next).min()?;
        Some(next.max(self.rest_until))
    }

    /// Sleeps until there is something to look at; whether no process has the filter any more.
    fn sleep(&self, now: Instant, next_call: Option<Instant>) -> bool {
        let Some(listener) = self.shared.listener() else {
            return false;
        };
        let active = (self.active_until > now).then(|| now + TICK);
        let close = self.closes.map(|(due, _)| due);
        let until = [active, close, next_call].into_iter().flatten().min();
        if active.is_none() {
            self.shared.asleep.store(true, Ordering::SeqCst);
            if self.shared.activity.load(Ordering::SeqCst) != self.activity || self.shared.stopping() {
                self.shared.asleep.store(false, Ordering::SeqCst);
                return false;
            }
        }
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            libc::timespec {
                tv_sec: left.as_secs() as libc::time_t,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let poll = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut states = [
            // The receiver waits for notifications; here only the end counts, which is reported unasked.
            poll(listener.fd(), 0),
            poll(self.shared.wake.fd(), libc::POLLIN),
            poll(self.shared.closes.as_raw_fd(), libc::POLLIN),
        ];
        let pointer = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: live pollfds and a live or null timespec, no signal mask.
        unsafe { libc::ppoll(states.as_mut_ptr(), states.len() as libc::nfds_t, pointer, std::ptr::null()) };
        self.shared.asleep.store(false, Ordering::SeqCst);
        if states[1].revents != 0 {
            self.shared.wake.sleep(Some(Duration::ZERO));
        }
        states[0].revents != 0
    }
}

fn finish(shared: &Arc<Shared>, handler: &dyn Handler, ended: bool) {
    shared.stopping.store(true, Ordering::SeqCst);
    let mut threads = lock(&shared.threads);
    // This thread is one of those that run.
    while threads.running > 1 {
        let (turn, since) = shared.turn.look();
        if since == 0
            && let Some(&receiver) = threads.receivers.get(&turn)
        {
            signal::interrupt(receiver);
        }
        let waited = shared.changed.wait_timeout(threads, TICK);
        threads = waited.unwrap_or_else(|broken| broken.into_inner()).0;
    }
    drop(threads);
    let calls: Vec<_> = lock(&shared.waiting)
        .values()
        .filter_map(|waiting| waiting.call.upgrade())
        .collect();
    for call in calls {
        call.end(Some(libc::ENODEV));
    }
    let listener = shared.listener.write().unwrap_or_else(|broken| broken.into_inner()).take();
    drop(listener);
    let telling = lock(&shared.telling);
    for client in shared.clients.take_all() {
        handler.closed(client);
    }
    drop(telling);
    if ended {
        handler.ended();
    }
    lock(&shared.handler).take();
    lock(&shared.threads).over = true;
    shared.changed.notify_all();
}
