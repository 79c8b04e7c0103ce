//! How files are held: once each, as far as they reach, as their descriptors and the limits allow.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use super::*;

/// Bytes of the process's addresses that windows on files called `name` take, and how many they are.
fn windows(name: &str) -> (u64, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let bounds = maps.lines().filter(|line| line.contains(name)).map(|line| {
        let (low, high) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        u64::from_str_radix(high, 16).unwrap() - u64::from_str_radix(low, 16).unwrap()
    });
    bounds.fold((0, 0), |(bytes, count), length| (bytes + length, count + 1))
}

#[test]
fn a_file_is_in_the_process_once_however_many_maps_it_has() {
    let file = named(c"once", 1 << 30);
    let other = File::options()
        .read(true)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .unwrap();
    let space = AddressSpace::default();
    for index in 0..1000 {
        space
            .map(index * 2 * PAGE, file.as_raw_fd(), (index * 977 % 4096) * PAGE, PAGE, 3)
            .unwrap();
    }
    assert_eq!(windows("memfd:once"), (1 << 30, 1));
    // What can't be written to has no pages that could.
    space.map(1 << 40, other.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    assert_eq!(windows("memfd:once"), (2 << 30, 2));
    // What a descriptor does not allow is refused although the file is there already.
    let refused = space.map(1 << 41, other.as_raw_fd(), 0, PAGE, 3).unwrap_err();
    assert_eq!(refused.errno, libc::EACCES);
    for index in 0..1000 {
        assert_eq!(space.unmap(index * 2 * PAGE, PAGE).unwrap(), PAGE);
        assert_eq!(windows("memfd:once").1, if index < 999 { 2 } else { 1 });
    }
    drop(space);
    assert_eq!(windows("memfd:once"), (0, 0));
}

#[test]
fn a_file_that_grows_and_a_file_with_holes() {
    let file = named(c"grows", 4 * PAGE);
    let space = AddressSpace::default();
    let map = |address: u64, offset: u64, length: u64| space.map(address, file.as_raw_fd(), offset, length, 3);
    map(0, PAGE, PAGE).unwrap();
    file.set_len(8 * PAGE).unwrap();
    map(1 << 20, 6 * PAGE, PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, 8 * PAGE);
    // Over the seam of both.
    map(2 << 20, 2 * PAGE, 4 * PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, 12 * PAGE);
    for (address, offset) in [
        (0, PAGE),
        (1 << 20, 6 * PAGE),
        ((2 << 20) + PAGE, 3 * PAGE),
        ((2 << 20) + 2 * PAGE, 4 * PAGE),
    ] {
        space.write(address + 8, &offset.to_ne_bytes()).unwrap();
        let mut seen = [0; 8];
        file.read_at(&mut seen, offset + 8).unwrap();
        assert_eq!(u64::from_ne_bytes(seen), offset);
    }
    // Of a file of 1 TiB, 16 GiB and what else is asked for.
    file.set_len(1 << 40).unwrap();
    let before = windows("memfd:grows").0;
    map(3 << 20, 1 << 39, PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, before + (16 << 30));
    map(1 << 36, (16 << 30) - PAGE, 2 * PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, before + (16 << 30) + 2 * PAGE);
    space.unmap(0, 1 << 50).unwrap();
    assert_eq!(windows("memfd:grows"), (0, 0));
}

#[test]
fn seals_hold() {
    // SAFETY: plain values; the result is checked by what follows.
    let file = unsafe {
        File::from_raw_fd(libc::memfd_create(
            c"sealed".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        ))
    };
    file.set_len(4 * PAGE).unwrap();
    let space = space(&file, 0, PAGE);
    // SAFETY: as above.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_FUTURE_WRITE) };
    assert_eq!(sealed, 0);
    let refused = space.map(1 << 20, file.as_raw_fd(), PAGE, PAGE, 3).unwrap_err();
    assert_eq!(refused.errno, libc::EPERM);
    space.map(1 << 20, file.as_raw_fd(), PAGE, PAGE, PROT_READ).unwrap();
}

#[test]
fn limits_are_errors_and_change_nothing() {
    let file = memfd(64 * PAGE);
    let limits = Limits {
        maps: 3,
        windows: 2,
        bytes: 80 * PAGE,
    };
    let space = AddressSpace::new(limits);
    let errno = |result: crate::error::Result<()>| result.err().map(|error| error.errno);
    space.map(0, file.as_raw_fd(), 0, 8 * PAGE, 3).unwrap();
    space.reserve(1 << 20, 4 * PAGE).unwrap();
    assert_eq!(errno(space.reserve(1 << 20, PAGE)), Some(libc::EEXIST));
    assert_eq!(
        errno(space.map((1 << 20) + PAGE, file.as_raw_fd(), 0, PAGE, 3)),
        Some(libc::EEXIST)
    );
    assert_eq!(space.read(1 << 20, &mut [0]).unwrap_err().kind, MemoryFaultKind::Unmapped);
    // 64 pages for this file are taken of 80: no whole window of another one, and no second piece of 20.
    let second = memfd(32 * PAGE);
    assert_eq!(
        errno(space.map(2 << 20, second.as_raw_fd(), 0, 20 * PAGE, 3)),
        Some(libc::ENOSPC)
    );
    space.map(2 << 20, second.as_raw_fd(), 0, 16 * PAGE, 3).unwrap();
    assert_eq!(space.counts(), (3, 2));
    assert_eq!(errno(space.map(3 << 20, file.as_raw_fd(), 0, PAGE, 3)), Some(libc::ENOSPC));
    assert_eq!(errno(space.reserve(3 << 20, PAGE)), Some(libc::ENOSPC));
    // Neither by a split.
    assert_eq!(space.unmap(2 * PAGE, PAGE).unwrap_err().errno, libc::ENOSPC);
    assert_eq!(space.unmap((1 << 20) + PAGE, PAGE).unwrap_err().errno, libc::ENOSPC);
    space.write(2 * PAGE, b"still here").unwrap();
    assert_eq!(space.unmap(1 << 20, 4 * PAGE).unwrap(), 0);
    assert_eq!(space.unmap(2 * PAGE, PAGE).unwrap(), PAGE);
    assert_eq!(space.counts(), (3, 3));
    assert_eq!(space.unmap(0, 1 << 40).unwrap(), 23 * PAGE);
    assert_eq!(space.counts(), (0, 0));
    // Two files, and a third one.
    let files = [memfd(PAGE), memfd(PAGE), memfd(PAGE)];
    let map = |index: usize| space.map(index as u64 * PAGE, files[index].as_raw_fd(), 0, PAGE, 3);
    assert_eq!([0, 1, 2].map(|index| errno(map(index))), [None, None, Some(libc::ENOSPC)]);
}
