//! The ioctl door: intercepted DRM ioctls of one sandbox, from the listener of its seccomp filter to whoever answers them.
//!
//! A *receiver* thread takes notifications, finds out which open file description they are about, serves WAIT_CMD of registered
//! contexts itself and hands everything else to the [`Handler`]. It waits in the kernel for the next one without any other work.
//! A *watch* thread does what takes time to notice: descriptions that were closed, callers that died or have a signal to act on,
//! and a handler that takes so long that another receiver has to take over. It sleeps while there is nothing to watch.

mod call;
mod caller;
mod client;
mod listener;
mod receive;
mod signal;
mod status;
mod watch;

use std::collections::HashMap;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, Weak};
use std::time::{Duration, Instant};

use crate::completions::Completions;
use crate::error::{Error, Result};
use crate::eventfd::EventFd;

pub use call::Call;
use caller::Callers;
use client::Clients;
use listener::Listener;
use status::History;

/// Who answers. All calls come on the door's threads, several at a time if one takes longer than a millisecond.
pub trait Handler: Send + Sync {
    /// Runs `serve`, the whole life of one of the door's threads.
    fn thread(&self, serve: &mut (dyn FnMut() + Send)) {
        serve();
    }

    /// An ioctl: to be answered, or kept and answered later from any thread.
    fn call(&self, call: Arc<Call>);

    /// Client `client` has no descriptor and no mapping any more, and no unanswered call.
    fn closed(&self, client: u64);

    /// No process has the filter any more; every client was closed.
    fn ended(&self);
}

/// A lock whose data stays valid when a thread panicked with it: nothing here is left half done.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// A call that waits, and what was seen of its caller.
struct Waiting {
    call: Weak<Call>,
    next: Instant,
    pause: Duration,
    history: History,
}

#[derive(Default)]
struct Threads {
    /// Threads in `serve` and the watch thread.
    running: usize,
    /// Kernel ids of the receivers, by turn.
    receivers: HashMap<u64, libc::pid_t>,
    /// Whether the watch thread has put everything away.
    over: bool,
}

struct Shared {
    listener: RwLock<Option<Arc<Listener>>>,
    handler: Mutex<Option<Arc<dyn Handler>>>,
    completions: Option<Arc<Completions>>,
    clients: Clients,
    callers: Callers,
    closes: OwnedFd,
    /// Held while clients' ends are told, so that no later call overtakes them.
    telling: Mutex<()>,
    /// How often a close was heard of, or a client that was closed before had its last call answered.
    heard: AtomicU64,
    /// Of those, the ones whose locks have been dropped for sure. While it is behind, every call looks before it is served.
    settled: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
    turn: receive::Turn,
    began: Instant,
    activity: AtomicU64,
    asleep: AtomicBool,
    wake: EventFd,
    stopping: AtomicBool,
    threads: Mutex<Threads>,
    changed: Condvar,
}

impl Shared {
    fn listener(&self) -> Option<Arc<Listener>> {
        self.listener.read().unwrap_or_else(|broken| broken.into_inner()).clone()
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Something happens: the watch thread looks at it within a millisecond.
    fn active(&self) {
        // Ordered against the watch thread, which says "asleep" and reads the count again.
        self.activity.fetch_add(1, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake.signal();
        }
    }

    /// Before a call's answer, or instead of it.
    fn finished(&self, call: &Call) {
        if call.listed.load(Ordering::SeqCst) {
            lock(&self.waiting).remove(&call.id);
        }
        if call.client.release() {
            self.heard.fetch_add(1, Ordering::SeqCst);
            self.active();
        }
    }

    /// Puts a call on the list of those that wait.
    fn list(&self, call: &Arc<Call>) {
        let waiting = Waiting {
            call: Arc::downgrade(call),
            next: Instant::now() + watch::FIRST_LOOK,
            pause: watch::FIRST_LOOK,
            history: History::default(),
        };
        lock(&self.waiting).insert(call.id, waiting);
        call.listed.store(true, Ordering::SeqCst);
        if call.is_open() {
            self.active();
        } else {
            lock(&self.waiting).remove(&call.id);
        }
    }

    /// Whether a node's file was closed somewhere since the last look.
    fn take_closes(&self) -> bool {
        let mut events = [MaybeUninit::<u8>::uninit(); 4096];
        let mut any = false;
        loop {
            // SAFETY: a live buffer of that length; what was read is not looked at.
            let length = unsafe { libc::read(self.closes.as_raw_fd(), events.as_mut_ptr().cast(), events.len()) };
            if length <= 0 {
                return any;
            }
            any = true;
            // One event for all files takes no name, so a short read was the last.
            if (length as usize) < events.len() - size_of::<libc::inotify_event>() {
                return any;
            }
        }
    }

    /// Tells of the clients that are gone, if one may be, or `due`; how often a close was heard of until now.
    ///
    /// The kernel tells of a close just before it drops the lock: this looks again until the watch thread says that it is settled.
    fn tell_closed(&self, handler: &dyn Handler, due: bool) -> u64 {
        // Events are taken behind the lock: who finds none knows that they have been acted on.
        let _telling = lock(&self.telling);
        if self.take_closes() {
            self.heard.fetch_add(1, Ordering::SeqCst);
            self.active();
        }
        let heard = self.heard.load(Ordering::SeqCst);
        if due || heard != self.settled.load(Ordering::SeqCst) {
            for client in self.clients.reap() {
                handler.closed(client);
            }
        }
        heard
    }
}

/// A door: two threads, more while handlers are slow. Dropped, it closes without waiting.
pub struct Door(Arc<Shared>);

impl Door {
    /// Serves the notifications of `listener` about the node files at `files` (one file per node, opened here for this alone).
    ///
    /// Descriptors are duplicated. The caller closes its own: the program gets an error instead of waiting for ever only when the
    /// last descriptor of the listener is gone.
    ///
    /// # Errors
    /// EBADF, EINVAL: a descriptor that is no listener, no regular file, or a file given twice; EMFILE and others from the kernel.
    pub fn new(
        listener: RawFd,
        files: &[RawFd],
        handler: Arc<dyn Handler>,
        completions: Option<Arc<Completions>>,
    ) -> Result<Self> {
        let clients = Clients::new(files)?;
        let shared = Arc::new(Shared {
            listener: RwLock::new(Some(Arc::new(Listener::new(listener)?))),
            handler: Mutex::new(Some(handler.clone())),
            completions,
            closes: watch_closes(clients.files())?,
            clients,
            callers: Callers::default(),
            telling: Mutex::default(),
            heard: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            waiting: Mutex::default(),
            turn: receive::Turn::default(),
            began: Instant::now(),
            activity: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            wake: EventFd::new()?,
            stopping: AtomicBool::new(false),
            threads: Mutex::default(),
            changed: Condvar::new(),
        });
        signal::prepare()?;
        let theirs = shared.clone();
        shared.spawn("fauxdna-watch", move |handler| watch::watch(&theirs, handler))?;
        let door = Self(shared);
        receive::start(&door.0, 0)?;
        Ok(door)
    }

    /// Serves WAIT_CMD of hardware context `context` of a client from `completion`; ENOENT: no such client.
    pub fn register(&self, client: u64, context: u32, completion: u64) -> Result<()> {
        self.0.clients.register(client, context, Some(completion))
    }

    /// Serves them no more; of a client that is gone as well.
    pub fn forget(&self, client: u64, context: u32) {
        // ENOENT: the client was closed, and its contexts with it.
        let _ = self.0.clients.register(client, context, None);
    }

    /// Ends the door: calls that wait get ENODEV, later ones ENOSYS from the kernel, and every client is told closed.
    ///
    /// Waits until that is done, except on a thread of the door itself. May be called twice.
    pub fn close(&self) {
        self.stop();
        if signal::is_door_thread() {
            return;
        }
        let mut threads = lock(&self.0.threads);
        // Also until the threads have left the handler's own ways: an interpreter that ends meanwhile would end the process.
        while !threads.over || threads.running > 0 {
            threads = self.0.changed.wait(threads).unwrap_or_else(|broken| broken.into_inner());
        }
    }

    /// For whoever has to wait for the threads in the end.
    pub fn running(&self) -> Running {
        Running(Arc::downgrade(&self.0))
    }

    /// Starts to close, without waiting.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        self.0.active();
        self.0.wake.signal();
    }
}

/// A door whose threads may still run, also after it was dropped.
pub struct Running(Weak<Shared>);

impl Running {
    /// Whether it may.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Closes the door; see [`Door::close`].
    pub fn close(&self) {
        if let Some(shared) = self.0.upgrade() {
            Door(shared).close();
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Starts one of the door's threads, which runs `body` with the handler.
    fn spawn(self: &Arc<Self>, name: &str, body: impl FnOnce(&dyn Handler) + Send + 'static) -> Result<()> {
        let Some(handler) = lock(&self.handler).clone() else {
            return Ok(());
        };
        let theirs = self.clone();
        lock(&self.threads).running += 1;
        let run = move || {
            signal::enter_door_thread();
            let mut body = Some(body);
            handler.thread(&mut || {
                if let Some(body) = body.take() {
                    body(&*handler);
                }
            });
            drop(handler);
            lock(&theirs.threads).running -= 1;
            theirs.changed.notify_all();
        };
        let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
        if let Err(error) = spawned {
            lock(&self.threads).running -= 1;
            let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
            return Err(Error::new(errno, format!("starting a thread of the ioctl door: {error}")));
        }
        Ok(())
    }
}

/// An inotify descriptor that tells when a description of one of `files` was let go of by everybody.
fn watch_closes(files: impl Iterator<Item = RawFd>) -> Result<OwnedFd> {
    // SAFETY: plain values; a result of 0 or more is a new descriptor that nobody else owns.
    let closes = unsafe {
        let fd = libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK);
        if fd < 0 {
            return Err(Error::last_os(
                "watching the node files (fs.inotify.max_user_instances limits it)",
            ));
        }
        OwnedFd::from_raw_fd(fd)
    };
    for file in files {
        let path = std::ffi::CString::new(format!("/proc/self/fd/{file}")).expect("a path of digits");
        // SAFETY: a live C string.
        let watch = unsafe { libc::inotify_add_watch(closes.as_raw_fd(), path.as_ptr(), libc::IN_CLOSE) };
        if watch < 0 {
            return Err(Error::last_os("watching a node file (fs.inotify.max_user_watches limits it)"));
        }
    }
    Ok(closes)
}
