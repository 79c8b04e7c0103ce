//! Memory that its owner takes away while it is read.

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;

#[test]
fn file_that_shrinks_under_its_readers_poisons_the_mapping_and_nothing_else() {
    for _ in 0..20 {
        let (file, other) = (memfd(64 * PAGE), memfd(PAGE));
        let space = space(&file, 0, 64 * PAGE);
        space
            .map(1 << 40, other.as_raw_fd(), 0, PAGE, PROT_READ | PROT_WRITE)
            .unwrap();
        let reading = std::thread::spawn({
            let space = space.clone();
            move || {
                let reader = space.reader();
                let mut out = vec![0; 64 * PAGE as usize];
                loop {
                    if let Err(fault) = reader.enter().read(0, &mut out) {
                        return fault.kind;
                    }
                }
            }
        });
        std::thread::sleep(Duration::from_micros(300));
        file.set_len(3 * PAGE).unwrap();
        assert_eq!(reading.join().unwrap(), MemoryFaultKind::Poisoned);
        let reader = space.reader();
        reader.enter().write(1 << 40, b"alive").unwrap();
        assert_eq!(reader.enter().read(0, &mut [0]).unwrap_err().kind, MemoryFaultKind::Poisoned);
    }
}

#[test]
fn bus_errors_of_others_still_end_the_process() {
    // In a child, since it dies: a mapping that the table does not know.
    let file = memfd(PAGE);
    let _ours = space(&file, 0, PAGE);
    // SAFETY: the child only maps, touches and exits; the mapping is its own.
    let status = unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let stranger = memfd(PAGE);
            let pointer = libc::mmap(
                std::ptr::null_mut(),
                PAGE as usize,
                libc::PROT_READ,
                libc::MAP_SHARED,
                stranger.as_raw_fd(),
                0,
            );
            libc::ftruncate(stranger.as_raw_fd(), 0);
            std::ptr::read_volatile(pointer.cast::<u8>());
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        status
    };
    assert!(libc::WIFSIGNALED(status));
    assert_eq!(libc::WTERMSIG(status), libc::SIGBUS);
}
