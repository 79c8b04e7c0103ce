//! What callers of [`Completions`] wait by: a callback, or on their own thread.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::{Completions, Condition, Finish, Outcome, Queue, Wait, lock};
use crate::eventfd::EventFd;

/// How long a wait is polled for before its vector is armed: two to three wake-ups by eventfd.
const POLL: Duration = Duration::from_micros(60);
/// Looks of a polling caller between two looks at the clock.
const LOOKS: u32 = 16;

impl Completions {
    /// Calls `finish` when command `sequence` is done, or at `deadline`: at once if that is so now, and then gives 0; else the
    /// ticket of the wait. A command that was never submitted is one that is not done.
    pub fn wait(&self, id: u64, sequence: u64, deadline: Option<Instant>, finish: Finish) -> u64 {
        let Some(queue) = self.shared.queue(id) else {
            finish(Outcome::Gone);
            return 0;
        };
        if queue.indices.done(sequence) {
            finish(Outcome::Done);
            return 0;
        }
        self.kick();
        self.start(id, queue, sequence, deadline, Some(Instant::now() + POLL), finish)
    }

    /// Takes a wait back; `false` if `finish` was called, or is being called.
    pub fn cancel(&self, ticket: u64) -> bool {
        let mut waits = lock(&self.shared.waits);
        let found = waits.iter().position(|wait| wait.ticket == ticket);
        let taken = found.map(|index| waits.swap_remove(index));
        drop(waits);
        if taken.is_some() {
            self.shared.ended.notify_all();
            self.shared.post();
        }
        taken.is_some()
    }

    /// Waits on the calling thread, which polls at first. `interrupted` is asked every `slice`; if it says so, `None` comes back.
    pub fn block(
        &self,
        id: u64,
        sequence: u64,
        deadline: Option<Instant>,
        slice: Option<Duration>,
        interrupted: impl FnMut() -> bool,
    ) -> Option<Outcome> {
        let Some(queue) = self.shared.queue(id) else {
            return Some(Outcome::Gone);
        };
        if queue.indices.done(sequence) {
            return Some(Outcome::Done);
        }
        self.kick();
        let began = Instant::now();
        let until = deadline.map_or(began + POLL, |deadline| deadline.min(began + POLL));
        while Instant::now() < until {
            for _ in 0..LOOKS {
                if queue.indices.done(sequence) {
                    return Some(Outcome::Done);
                }
                std::hint::spin_loop();
            }
        }
        let (finish, end) = channel();
        let ticket = self.start(id, queue, sequence, deadline, None, finish);
        self.receive(ticket, &end, slice, interrupted)
    }

    /// Waits on the calling thread for an interrupt of `vector` after number `seen`; see [`Completions::block`].
    pub fn block_for_interrupt(
        &self,
        vector: u64,
        seen: u64,
        deadline: Option<Instant>,
        slice: Option<Duration>,
        interrupted: impl FnMut() -> bool,
    ) -> Option<Outcome> {
        let Ok(vector) = self.vector(vector) else {
            return Some(Outcome::Off);
        };
        let (finish, end) = channel();
        let ticket = self.push(Wait {
            ticket: 0,
            queue: 0,
            vector,
            condition: Condition::Interrupt(seen),
            deadline,
            hot: None,
            finish,
        });
        self.receive(ticket, &end, slice, interrupted)
    }

    /// Whether a wait for one of these queues is under way.
    pub fn waited_for(&self, queues: &[u64]) -> bool {
        lock(&self.shared.waits).iter().any(|wait| queues.contains(&wait.queue))
    }

    /// Returns when the waits for these queues that are under way now are over; later ones are not waited for. `interrupted` is asked
    /// every `slice`; if it says so, `false` comes back.
    pub fn drain(&self, queues: &[u64], slice: Option<Duration>, mut interrupted: impl FnMut() -> bool) -> bool {
        if std::process::id() != self.process {
            return true;
        }
        let next = self.next_id.load(Ordering::SeqCst);
        let mut asked = Instant::now();
        let mut waits = lock(&self.shared.waits);
        while waits.iter().any(|wait| wait.ticket < next && queues.contains(&wait.queue)) {
            let ended = &self.shared.ended;
            let Some(slice) = slice else {
                waits = ended.wait(waits).unwrap_or_else(|broken| broken.into_inner());
                continue;
            };
            drop(ended.wait_timeout(waits, slice).unwrap_or_else(|broken| broken.into_inner()));
            // By the clock: the ends of others' waits wake us as well, and may do so without a pause.
            if asked.elapsed() >= slice {
                if interrupted() {
                    return false;
                }
                asked = Instant::now();
            }
            waits = lock(&self.shared.waits);
        }
        true
    }

    fn kick(&self) {
        if let Some(kick) = &self.kick {
            EventFd::signal_fd(kick.as_raw_fd());
        }
    }

    fn start(
        &self,
        id: u64,
        queue: Arc<Queue>,
        sequence: u64,
        deadline: Option<Instant>,
        hot: Option<Instant>,
        finish: Finish,
    ) -> u64 {
        self.push(Wait {
            ticket: 0,
            queue: id,
            vector: queue.vector.clone(),
            condition: Condition::Command(queue, sequence),
            deadline,
            hot,
            finish,
        })
    }

    /// Hands a wait to the thread, unless what it waits for went away meanwhile; its ticket, or 0.
    fn push(&self, mut wait: Wait) -> u64 {
        wait.ticket = self.next_id.fetch_add(1, Ordering::Relaxed);
        let ticket = wait.ticket;
        // What it waits for may have happened, and its interrupt been taken, since the caller looked: the thread looks once more.
        wait.hot.get_or_insert_with(Instant::now);
        let refused = {
            let mut waits = lock(&self.shared.waits);
            // Whoever removes or closes says so first, and then looks for waits behind this lock.
            let off = wait.vector.gone.load(Ordering::SeqCst)
                || self.shared.closed.load(Ordering::SeqCst)
                || std::process::id() != self.process;
            let removed = matches!(wait.condition, Condition::Command(..)) && self.shared.queue(wait.queue).is_none();
            if off {
                Some((wait, Outcome::Off))
            } else if removed {
                Some((wait, Outcome::Gone))
            } else {
                waits.push(wait);
                None
            }
        };
        if let Some((wait, outcome)) = refused {
            (wait.finish)(outcome);
            return 0;
        }
        self.shared.post();
        ticket
    }

    fn receive(
        &self,
        ticket: u64,
        end: &mpsc::Receiver<Outcome>,
        slice: Option<Duration>,
        mut interrupted: impl FnMut() -> bool,
    ) -> Option<Outcome> {
        let Some(slice) = slice else {
            return Some(end.recv().unwrap_or(Outcome::Off));
        };
        loop {
            match end.recv_timeout(slice) {
                Ok(outcome) => return Some(outcome),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Some(Outcome::Off),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if interrupted() {
                        self.cancel(ticket);
                        return None;
                    }
                }
            }
        }
    }
}

fn channel() -> (Finish, mpsc::Receiver<Outcome>) {
    let (send, receive) = mpsc::sync_channel(1);
    // The receiver may have gone: it was interrupted.
    let finish = move |outcome| {
        let _ = send.try_send(outcome);
    };
    (Box::new(finish), receive)
}
