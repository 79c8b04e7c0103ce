//! Address spaces: readers beside changes, memory that vanishes, how files are held, and the speed of copies and maps.

mod bench;
mod readers;
mod rows;
mod vanishing;
mod windows;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;

use super::*;

const PAGE: u64 = PAGE_SIZE;

fn memfd(bytes: u64) -> File {
    named(c"test", bytes)
}

fn named(name: &CStr, bytes: u64) -> File {
    // SAFETY: a C string and a flag; the result is checked, and owned by nobody else.
    let file = unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
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
