//! Open file descriptions of the sandbox's nodes: which one a descriptor is, and whether it still lives.
//!
//! Each has a *tag* in its file position and holds an OFD lock on one byte of its file, the byte of its number. The kernel drops
//! that lock with the last descriptor and mapping of the description, so a query through our own descriptor says whether it lives;
//! nothing of a client is kept open here. The tag finds it fast, the lock proves it: its own lock is the one that does not conflict.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::lock;
use crate::descriptor::duplicate;
use crate::error::{Error, Result};

/// Set in every tag, so that no position of ordinary use is one.
const TAG: u64 = 1 << 62;
/// Low bits of a tag, the same for all clients of a door.
const SALT_BITS: u32 = 30;
/// Numbers that are tried for a new client when the program itself holds locks on the node.
const ATTEMPTS: u32 = 8;

/// One open file description.
#[derive(Debug)]
pub struct Client {
    /// Its number, which is never used again.
    pub id: u64,
    /// Index of its node.
    pub node: usize,
    /// Whether its lock could be taken. Without, it lives as long as the sandbox.
    locked: bool,
    outstanding: AtomicU32,
    gone: AtomicBool,
    waits: RwLock<HashMap<u32, u64>>,
}

impl Client {
    /// The completion that a hardware context was registered with.
    pub fn completion(&self, context: u32) -> Option<u64> {
        let waits = self.waits.read().unwrap_or_else(|broken| broken.into_inner());
        waits.get(&context).copied()
    }

    /// One call less is unanswered; `true` if it was the last one of a client that is gone.
    pub fn release(&self) -> bool {
        self.outstanding.fetch_sub(1, Ordering::SeqCst) == 1 && self.gone.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Node {
    file: OwnedFd,
    identity: (libc::dev_t, libc::ino_t),
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<u64, Arc<Client>>,
    last: u64,
}

/// The clients of one sandbox.
#[derive(Debug)]
pub struct Clients {
    nodes: Vec<Node>,
    salt: u64,
    table: Mutex<Table>,
}

impl Clients {
    /// Of the nodes whose files are open at `files`, which are duplicated.
    pub fn new(files: &[RawFd]) -> Result<Self> {
        let mut nodes: Vec<Node> = Vec::new();
        for &fd in files {
            let file = duplicate(fd, "node file")?;
            let status = stat(file.as_raw_fd()).ok_or_else(|| Error::last_os("looking at a node file"))?;
            if status.st_mode & libc::S_IFMT != libc::S_IFREG {
                let problem = format!("node file, descriptor {fd}: it is no regular file");
                return Err(Error::new(libc::EINVAL, problem));
            }
            let identity = (status.st_dev, status.st_ino);
            if nodes.iter().any(|node| node.identity == identity) {
                let problem = format!("node file, descriptor {fd}: each node has a file of its own");
                return Err(Error::new(libc::EINVAL, problem));
            }
            nodes.push(Node { file, identity });
        }
        let mut salt = 0u64;
        // SAFETY: 8 bytes of a live integer. Should the call fail, tags are less random, which costs time only.
        unsafe { libc::getrandom((&raw mut salt).cast(), 8, 0) };
        Ok(Self {
            nodes,
            salt: salt & ((1 << SALT_BITS) - 1),
            table: Mutex::default(),
        })
    }

    /// Descriptors of the nodes.
    pub fn files(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.nodes.iter().map(|node| node.file.as_raw_fd())
    }

    /// The client that `file` is a descriptor of, a new one if need be, with one more call unanswered; `None` if it is no node.
    pub fn identify(&self, file: &OwnedFd) -> Option<Arc<Client>> {
        let fd = file.as_raw_fd();
        let status = stat(fd)?;
        let identity = (status.st_dev, status.st_ino);
        let node = self.nodes.iter().position(|node| node.identity == identity)?;
        // SAFETY: plain values.
        let position = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
        if position < 0 {
            // O_PATH: the kernel refuses the ioctl itself.
            return None;
        }
        let mut table = lock(&self.table);
        let tagged = self.number(position.cast_unsigned()).and_then(|id| table.clients.get(&id));
        let client = match tagged {
            Some(client) if client.is_at(node) && (!client.locked || locked_by_other(fd, client.id) == Some(false)) => {
                client.clone()
            }
            _ => match table.search(fd, node) {
                Some(client) => client,
                None => table.create(fd, node),
            },
        };
        let tag = self.tag(client.id);
        if position.cast_unsigned() != tag {
            // SAFETY: plain values. The position is the open file description's, so every duplicate has it.
            unsafe { libc::lseek(fd, tag.cast_signed(), libc::SEEK_SET) };
        }
        client.outstanding.fetch_add(1, Ordering::SeqCst);
        Some(client)
    }

    fn tag(&self, id: u64) -> u64 {
        TAG | id << SALT_BITS | self.salt
    }

    fn number(&self, position: u64) -> Option<u64> {
        let id = (position & !TAG) >> SALT_BITS;
        (position == self.tag(id)).then_some(id)
    }

    /// Takes out the clients that are gone and have no unanswered call.
    pub fn reap(&self) -> Vec<u64> {
        let mut table = lock(&self.table);
        let mut closed: Vec<u64> = Vec::new();
        table.clients.retain(|&id, client| {
            let file = self.nodes[client.node].file.as_raw_fd();
            if client.locked && !client.gone.load(Ordering::SeqCst) && locked_by_other(file, id) == Some(false) {
                client.gone.store(true, Ordering::SeqCst);
            }
            let ended = client.gone.load(Ordering::SeqCst) && client.outstanding.load(Ordering::SeqCst) == 0;
            if ended {
                closed.push(id);
            }
            !ended
        });
        closed.sort_unstable();
        closed
    }

    /// Takes all clients out.
    pub fn take_all(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = lock(&self.table).clients.drain().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Serves WAIT_CMD of a client's context from `completion`, or no more; ENOENT if there is no such client.
    pub fn register(&self, id: u64, context: u32, completion: Option<u64>) -> Result<()> {
        let client = lock(&self.table).clients.get(&id).cloned();
        let Some(client) = client else {
            return Err(Error::new(libc::ENOENT, format!("client {id} does not exist or was closed")));
        };
        let mut waits = client.waits.write().unwrap_or_else(|broken| broken.into_inner());
        match completion {
            Some(completion) => waits.insert(context, completion),
            None => waits.remove(&context),
        };
        Ok(())
    }
}

impl Client {
    fn is_at(&self, node: usize) -> bool {
        self.node == node && !self.gone.load(Ordering::SeqCst)
    }
}

impl Table {
    /// The client whose lock the description of `fd` holds: the program moved its file position.
    fn search(&self, fd: RawFd, node: usize) -> Option<Arc<Client>> {
        if self.clients.is_empty() {
            return None;
        }
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let held = text.lines().filter_map(lock_byte);
        let mut found = held
            .filter_map(|id| self.clients.get(&id))
            .filter(|client| client.is_at(node));
        found.next().cloned()
    }

    fn create(&mut self, fd: RawFd, node: usize) -> Arc<Client> {
        let mut locked = false;
        for _ in 0..ATTEMPTS {
            self.last += 1;
            locked = take_lock(fd, self.last);
            if locked {
                break;
            }
        }
        let client = Arc::new(Client {
            id: self.last,
            node,
            locked,
            outstanding: AtomicU32::new(0),
            gone: AtomicBool::new(false),
            waits: RwLock::default(),
        });
        self.clients.insert(client.id, client.clone());
        client
    }
}

/// The byte of a line of `/proc/PID/fdinfo/FD` that tells of an OFD lock on one byte.
fn lock_byte(line: &str) -> Option<u64> {
    let mut words = line.strip_prefix("lock:")?.split_whitespace();
    let end: u64 = words.next_back()?.parse().ok()?;
    let start: u64 = words.next_back()?.parse().ok()?;
    if words.nth(1) != Some("OFDLCK") {
        return None;
    }
    (start == end).then_some(start)
}

fn stat(fd: RawFd) -> Option<libc::stat> {
    // SAFETY: all-zero bytes are a valid stat; the kernel fills it.
    unsafe {
        let mut status: libc::stat = zeroed();
        (libc::fstat(fd, &mut status) == 0).then_some(status)
    }
}

fn byte(kind: i32, id: u64) -> libc::flock {
    // SAFETY: all-zero bytes are a valid flock.
    let mut request: libc::flock = unsafe { zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = id.cast_signed();
    request.l_len = 1;
    request
}

/// Whether a description other than that of `fd` holds a lock on byte `id`; `None` if that can't be asked.
fn locked_by_other(fd: RawFd, id: u64) -> Option<bool> {
    let mut request = byte(libc::F_WRLCK, id);
    // SAFETY: a live flock that the kernel reads and writes.
    let status = unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut request) };
    (status == 0).then_some(i32::from(request.l_type) != libc::F_UNLCK)
}

/// Locks byte `id` for the description of `fd`.
fn take_lock(fd: RawFd, id: u64) -> bool {
    // SAFETY: plain values.
    let mode = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_ACCMODE;
    let kind = if mode == libc::O_RDONLY {
        libc::F_RDLCK
    } else {
        libc::F_WRLCK
    };
    let request = byte(kind, id);
    loop {
        // SAFETY: a live flock that the kernel reads; this form does not wait.
        if unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const request) } == 0 {
            return true;
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;

    #[test]
    fn lock_lines_are_read() {
        assert_eq!(lock_byte("lock:\t1: OFDLCK ADVISORY  WRITE -1 00:1a:1234 5 5"), Some(5));
        assert_eq!(lock_byte("lock:\t1: OFDLCK ADVISORY  READ -1 00:1a:1234 7 7"), Some(7));
        for other in [
            "lock:\t1: OFDLCK ADVISORY  WRITE -1 00:1a:1234 0 EOF",
            "lock:\t1: OFDLCK ADVISORY  WRITE -1 00:1a:1234 4 5",
            "lock:\t1: POSIX  ADVISORY  WRITE 55 00:1a:1234 5 5",
            "pos:\t5",
            "lock:",
        ] {
            assert_eq!(lock_byte(other), None, "{other}");
        }
    }

    /// A node's file, which like all of them lies in a tmpfs: other file systems have no positions as high as a tag.
    fn node() -> OwnedFd {
        // SAFETY: a live C string and flags; a result of 0 or more is a new descriptor that nobody else owns.
        unsafe {
            let fd = libc::memfd_create(c"node".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        }
    }

    /// A description of its own of the file.
    fn open(node: &OwnedFd) -> OwnedFd {
        let path = format!("/proc/self/fd/{}", node.as_raw_fd());
        fs::File::options().read(true).write(true).open(path).unwrap().into()
    }

    #[test]
    fn descriptions_are_told_apart_found_again_and_reaped() {
        let node = node();
        let open = || open(&node);
        let ours = open();
        let clients = Clients::new(&[ours.as_raw_fd()]).unwrap();
        let identify = |file: &OwnedFd| {
            let client = clients.identify(file).unwrap();
            client.release();
            client.id
        };
        let (first, second) = (open(), open());
        let duplicate = first.try_clone().unwrap();
        let (one, two) = (identify(&first), identify(&second));
        assert_ne!(one, two);
        assert_eq!(identify(&duplicate), one);
        for file in [&first, &second] {
            // SAFETY: plain values.
            unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_SET) };
        }
        assert_eq!((identify(&second), identify(&duplicate)), (two, one));
        // The second takes the first's tag: the lock says that it is not the first.
        // SAFETY: plain values.
        unsafe {
            let tag = libc::lseek(first.as_raw_fd(), 0, libc::SEEK_CUR);
            libc::lseek(second.as_raw_fd(), tag, libc::SEEK_SET);
        }
        assert_eq!((identify(&second), identify(&first)), (two, one));
        drop(first);
        assert!(clients.reap().is_empty());
        drop(duplicate);
        assert_eq!(clients.reap(), [one]);
        let third = open();
        assert!(identify(&third) > two);
        // A client with an unanswered call stays until it is answered.
        let busy = clients.identify(&second).unwrap();
        drop(second);
        assert!(clients.reap().is_empty());
        assert!(busy.release());
        assert_eq!(clients.reap(), [two]);
        assert_eq!(clients.register(two, 1, None).unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn a_program_that_locks_the_whole_node_harms_itself_only() {
        let node = node();
        let (ours, greedy, other) = (open(&node), open(&node), open(&node));
        let clients = Clients::new(&[ours.as_raw_fd()]).unwrap();
        let mut all = byte(libc::F_WRLCK, 0);
        all.l_len = 0;
        // SAFETY: a live flock that the kernel reads.
        let status = unsafe { libc::fcntl(greedy.as_raw_fd(), libc::F_OFD_SETLK, &raw const all) };
        assert_eq!(status, 0);
        let ids: Vec<u64> = [&other, &other, &greedy, &greedy]
            .map(|file| clients.identify(file).unwrap().id)
            .to_vec();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[2], ids[3]);
        assert_ne!(ids[0], ids[2]);
    }
}
