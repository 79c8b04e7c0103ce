//! Readers and unmap against each other, memory that vanishes, and the speed of copies.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

const PAGE: u64 = PAGE_SIZE;

fn memfd(bytes: u64) -> File {
    // SAFETY: a C string literal and a flag; the result is checked, and owned by nobody else.
    let file = unsafe {
        let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        File::from_raw_fd(fd)
    };
    file.set_len(bytes).unwrap();
    file
}

fn space(file: &File, address: u64, bytes: u64) -> Arc<AddressSpace> {
    let space = Arc::new(AddressSpace::default());
    space
        .map(address, file.as_raw_fd(), 0, bytes, PROT_READ | PROT_WRITE)
        .unwrap();
    space
}

#[test]
fn reader_sees_changes_made_between_its_accesses() {
    let (first, second) = (memfd(PAGE), memfd(PAGE));
    first.write_at(b"first", 0).unwrap();
    second.write_at(b"second", 0).unwrap();
    let space = space(&first, 0, PAGE);
    let reader = space.reader();
    let mut out = [0; 5];
    let access = reader.enter();
    access.read(0, &mut out).unwrap();
    assert_eq!(&out, b"first");
    // The guard is idle, but has not shown that it knows: it would make unmap wait, so that happens on another thread.
    let theirs = space.clone();
    let changer = std::thread::spawn(move || {
        assert_eq!(theirs.unmap(0, PAGE).unwrap(), PAGE);
        theirs.map(0, second.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    });
    while out != *b"secon" {
        let _ = access.read(0, &mut out);
    }
    changer.join().unwrap();
    assert_eq!(access.write(0, b"x").unwrap_err().kind, MemoryFaultKind::Permission);
}

#[test]
fn unmap_waits_for_a_reader_that_is_in_the_middle() {
    let file = memfd(PAGE);
    let space = space(&file, 0, PAGE);
    let reader = space.reader();
    let access = reader.enter();
    let done = Arc::new(AtomicBool::new(false));
    let (theirs, flag) = (space.clone(), done.clone());
    let unmapper = std::thread::spawn(move || {
        theirs.unmap(0, PAGE).unwrap();
        flag.store(true, Ordering::SeqCst);
    });
    std::thread::sleep(Duration::from_millis(30));
    assert!(!done.load(Ordering::SeqCst));
    drop(access);
    unmapper.join().unwrap();
    assert!(done.load(Ordering::SeqCst));
    assert_eq!(reader.enter().read(0, &mut [0]).unwrap_err().kind, MemoryFaultKind::Unmapped);
}

#[test]
fn nothing_is_touched_after_unmap_has_returned() {
    let file = memfd(2 * PAGE);
    let space = space(&file, 0, 2 * PAGE);
    let stop = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicU64::new(0));
    let (theirs, flag, count) = (space.clone(), stop.clone(), writes.clone());
    let writer = std::thread::spawn(move || {
        let reader = theirs.reader();
        while !flag.load(Ordering::Relaxed) {
            let access = reader.enter();
            for _ in 0..100 {
                // Over both pages, so that a split leaves one of them.
                let ends = [access.write(PAGE - 32, &[0xAA; 64]), access.write(0, &[0xBB; 8])];
                count.fetch_add(ends.iter().filter(|end| end.is_ok()).count() as u64, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..300 {
        while writes.swap(0, Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(space.unmap(PAGE, PAGE).unwrap(), PAGE);
        file.write_at(&[0; 32], PAGE).unwrap();
        std::thread::yield_now();
        let mut seen = [0; 32];
        file.read_at(&mut seen, PAGE).unwrap();
        assert_eq!(seen, [0; 32], "a page was written after it had been unmapped");
        space.map(PAGE, file.as_raw_fd(), PAGE, PAGE, PROT_READ | PROT_WRITE).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

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

#[test]
fn many_mappings_are_found_again() {
    let file = memfd(PAGE);
    let space = Arc::new(AddressSpace::default());
    for index in 0..2000u64 {
        space.map(index * 3 * PAGE, file.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    }
    let reader = space.reader();
    let access = reader.enter();
    for index in 0..2000u64 {
        access.read(index * 3 * PAGE + 100, &mut [0; 8]).unwrap();
        let fault = access.read(index * 3 * PAGE + PAGE, &mut [0; 8]).unwrap_err();
        assert_eq!((fault.kind, fault.length), (MemoryFaultKind::Unmapped, 8));
    }
}

/// `cargo test --release -- --ignored --nocapture copy_speed`
#[test]
#[ignore = "a measurement"]
fn copy_speed() {
    let bytes = 64 << 20;
    let file = memfd(bytes);
    let space = space(&file, 0, bytes);
    let reader = space.reader();
    let mut out = vec![0; 1 << 20];
    let mut measure = |length: usize, span: u64| {
        let (mut moved, mut address) = (0usize, 0);
        let start = Instant::now();
        while moved < 1 << 29 && start.elapsed() < Duration::from_secs(2) {
            let access = reader.enter();
            for _ in 0..256 {
                access.read(address, &mut out[..length]).unwrap();
                access.write(address, &out[..length]).unwrap();
                address = (address + length as u64) % (span - length as u64);
                moved += 2 * length;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{length:>8} bytes over {:>6} KiB: {:>7.2} GB/s, {:.1} ns an access",
            span >> 10,
            moved as f64 / seconds / 1e9,
            seconds * 1e9 * length as f64 / moved as f64
        );
    };
    for span in [1 << 16, 1 << 20, bytes] {
        for length in [4, 16, 64, 256, 1024, 4096, 16384, 65536] {
            if (length as u64) < span {
                measure(length, span);
            }
        }
    }
}

#[test]
fn rows_within_a_region_across_regions_and_past_the_last() {
    let (first, second) = (memfd(PAGE), memfd(PAGE));
    let counting: Vec<u8> = (0..2 * PAGE).map(|index| (index * 31 / 7) as u8).collect();
    first.write_at(&counting[..PAGE as usize], 0).unwrap();
    second.write_at(&counting[PAGE as usize..], 0).unwrap();
    let space = space(&first, PAGE, PAGE);
    space.map(2 * PAGE, second.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    let reader = space.reader();
    let access = reader.enter();
    for (start, stride, row, rows) in [
        (8, 40, 16, 50),
        (PAGE - 100, 24, 20, 30),
        (4, PAGE - 8, 12, 3),
        (0, 0, 4, 5),
        (100, 1, 4, 9),
    ] {
        let mut out = vec![0; row * rows];
        access.read_rows(PAGE + start, stride, row, &mut out).unwrap();
        let expected: Vec<u8> = (0..rows)
            .flat_map(|index| {
                let from = (start + stride * index as u64) as usize;
                counting[from..from + row].to_vec()
            })
            .collect();
        assert_eq!(out, expected, "{rows} rows of {row} bytes from {start}, {stride} apart");
    }
    // The fault is that of the row that cannot be had: the rows before it are there.
    let mut out = [0; 64];
    let fault = access.read_rows(3 * PAGE - 80, 32, 16, &mut out).unwrap_err();
    assert_eq!(
        (fault.address, fault.length, fault.kind),
        (3 * PAGE + 16, 16, MemoryFaultKind::Unmapped)
    );
    assert_eq!(out[..16], counting[2 * PAGE as usize - 80..2 * PAGE as usize - 64]);
    let fault = access.read_rows(PAGE, u64::MAX - 3, 16, &mut out).unwrap_err();
    assert_eq!(fault.kind, MemoryFaultKind::Unmapped);

    access.write_rows(PAGE + 16, 32, 8, &[7; 24]).unwrap();
    access.read_rows(PAGE + 8, 16, 8, &mut out).unwrap();
    assert_eq!(out[8..16], counting[24..32]);
    assert_eq!([out[0], out[8 + 8]], [counting[8], counting[40]]);
    let mut written = [0; 128];
    access.read(PAGE, &mut written).unwrap();
    for (index, byte) in written.iter().enumerate() {
        let inside = (16..104).contains(&index) && (index - 16) % 32 < 8;
        assert_eq!(*byte, if inside { 7 } else { counting[index] }, "byte {index}");
    }
    let fault = access.write_rows(2 * PAGE - 16, 16, 16, &[1; 32]).unwrap_err();
    assert_eq!((fault.address, fault.kind), (2 * PAGE, MemoryFaultKind::Permission));
}
